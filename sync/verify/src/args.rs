//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use sync_evidence::PublicKey;
use sync_model::StoreId;

/// Checks Steelyard evidence against public keys.
#[derive(Debug, Parser)]
#[command(name = "sync-verify", version, arg_required_else_help = true, after_help = EXIT_HELP)]
pub(crate) struct Arguments {
    /// Print one line of JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_HELP: &str = "Exit codes: 0 holds, 1 does not hold, 2 usage, 3 a file cannot be read";

/// What to check.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A ledger file: records, chain, folds, books, and the seals in it: with keys also who wrote it
    Ledger {
        /// The file
        file: PathBuf,
        /// Every log must have a seal, and every seal a key that fits
        #[arg(long)]
        sealed: bool,
        /// Capture file whose seals must fit the ledger
        #[arg(long, value_name = "FILE")]
        seals: Option<PathBuf>,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// A captured stream: one history per log, seals and acknowledgements that fit it
    Capture {
        /// The file
        file: PathBuf,
        /// Every log must be sealed up to its last captured record
        #[arg(long)]
        sealed: bool,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// A settlement statement: signatures, its place in the day root, and what a ledger says
    Statement {
        /// The file
        file: PathBuf,
        /// Day root that must contain it; needs --proof
        #[arg(long, value_name = "FILE", requires = "proof")]
        root: Option<PathBuf>,
        /// Proof for the day root; needs --root
        #[arg(long, value_name = "FILE", requires = "root")]
        proof: Option<PathBuf>,
        /// Ledger whose events must give the same statement
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Two statements: names every row that differs
    Compare {
        /// One
        left: PathBuf,
        /// The other
        right: PathBuf,
    },
}

/// Public keys, and where they come from.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// A store's public key, 64 hex digits; may be given several times
    #[arg(long = "store-key", value_name = "STORE=HEX", value_parser = store_key)]
    pub(crate) stores: Vec<(StoreId, PublicKey)>,
    /// HQ's public key, 64 hex digits
    #[arg(long = "hq-key", value_name = "HEX", value_parser = key)]
    pub(crate) hq: Option<PublicKey>,
    /// A certificate whose name says whose key it is: a store's number, or hq; needs --ca; may be given several times
    #[arg(long = "certificate", value_name = "FILE", requires = "ca")]
    pub(crate) certificates: Vec<PathBuf>,
    /// The CA that must have signed the certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

fn store_key(text: &str) -> Result<(StoreId, PublicKey), String> {
    let (store, hex) = text.split_once('=').ok_or("expected STORE=HEX")?;
    let store = store.parse().map_err(|_| format!("'{store}' is no store number"))?;
    Ok((StoreId(store), key(hex)?))
}

fn key(hex: &str) -> Result<PublicKey, String> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Vec<u8> = digits
        .ok_or("not hexadecimal")?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    let bytes: [u8; 32] = bytes
        .try_into()
        .ok()
        .filter(|_| hex.len() == 64)
        .ok_or_else(|| format!("expected 64 hex digits, found {}", hex.len()))?;
    PublicKey::from_bytes(&bytes).map_err(|error| error.to_string())
}
