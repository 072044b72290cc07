//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Looks at a Steelyard store and tends it.
#[derive(Debug, Parser)]
#[command(name = "edgectl", version, arg_required_else_help = true, after_help = EXIT_HELP)]
pub(crate) struct Arguments {
    /// Socket of the daemon [env: STEELYARD_SOCKET] [default: /run/steelyard/edge.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the daemon's JSON answers, one per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Seconds to wait for an answer [default: 10, for ledger and statement 600]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: Option<u32>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_HELP: &str = "Exit codes: 0 ok, 1 error, 2 usage, 3 timeout, 4 device action failed, 5 degraded, \
6 conflict, 7 permission, 8 daemon not running, 10 not found";

impl Arguments {
    /// Socket by option, environment, default.
    pub(crate) fn socket(&self) -> PathBuf {
        let from_environment =
            || std::env::var_os("STEELYARD_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.socket.clone().or_else(from_environment).unwrap_or_else(|| edge_api::SOCKET_DEFAULT.into())
    }

    /// Deadline of one request.
    pub(crate) fn timeout(&self) -> Duration {
        let long = matches!(self.command, Command::Ledger(_) | Command::Statement(_));
        let usual = if long { 600 } else { 10 };
        Duration::from_secs(u64::from(self.timeout.unwrap_or(usual)))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One screen: store, clock, devices, alarms, settlement, ledger (exit 5 when degraded)
    Status,
    /// Devices
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Status, troubles and alarms, redrawn every second until Ctrl-C
    Watch {
        /// Stop after this many screens
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Events of the store's log
    #[command(subcommand)]
    Event(EventCommand),
    /// Stock by article and lot
    Stock {
        /// Only this article
        #[arg(long)]
        sku: Option<u64>,
    },
    /// Settlement with HQ
    #[command(subcommand)]
    Sync(SyncCommand),
    /// The ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Alarms
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// Merges that dropped or combined a value
    #[command(subcommand)]
    Conflict(ConflictCommand),
    /// Thresholds and notes that store and HQ both write
    #[command(subcommand)]
    Override(OverrideCommand),
    /// Devices as store and HQ list them
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Rights to stock that is shared between stores and channels
    #[command(subcommand)]
    Rights(RightsCommand),
    /// Signed statements of business days
    #[command(subcommand)]
    Statement(StatementCommand),
    /// Steam batches
    #[command(subcommand)]
    Batch(BatchCommand),
    /// The first ten checks, with what to do (exit 5 when one fails)
    Doctor,
    /// Read the configuration again
    Reload,
}

/// Devices.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Every device with its state and last reading
    List {
        /// scale, cabinet, tag or steamer
        #[arg(long)]
        class: Option<String>,
        /// Only those that are not ok
        #[arg(long)]
        bad: bool,
    },
    /// One device: connection, counters, last frames
    Show {
        /// Its id
        id: String,
    },
    /// Its frames as they come, in hex and in words, until Ctrl-C
    Trace {
        /// Its id
        id: String,
        /// For how long
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: Option<u64>,
    },
    /// Writes its frames to a file that the simulators can play as the far end
    Record {
        /// Its id
        id: String,
        /// For how long; Ctrl-C ends it earlier
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        seconds: u64,
        /// The file, which must not exist
        #[arg(long)]
        out: PathBuf,
    },
}

/// Events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// The last events
    Tail {
        /// How many
        #[arg(short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        lines: u32,
        /// Go on as they come
        #[arg(long, short)]
        follow: bool,
    },
}

/// Settlement.
#[derive(Debug, Subcommand)]
pub(crate) enum SyncCommand {
    /// Connection and how far each log is settled
    Status,
}

/// The ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute chain and folds from the log (exit 1 when something does not hold)
    Verify,
    /// Copy the ledger while it runs
    Backup {
        /// New file on the gateway, absolute
        path: String,
    },
}

/// Conflicts.
#[derive(Debug, Subcommand)]
pub(crate) enum ConflictCommand {
    /// Conflicts that nobody settled yet, with both sides
    List {
        /// Settled ones, too
        #[arg(long)]
        all: bool,
    },
    /// You looked at it and are content with what stands
    Settle {
        /// As listed
        id: String,
        #[command(flatten)]
        by: By,
    },
}

/// Overrides.
#[derive(Debug, Subcommand)]
pub(crate) enum OverrideCommand {
    /// Every override with the values that stand
    List,
    /// Set a threshold (thousandths of a degree) or a note
    Set {
        /// threshold/DEVICE/high, threshold/DEVICE/low or note/ANYTHING
        name: String,
        /// Number, or words for a note
        #[arg(allow_negative_numbers = true)]
        value: String,
        #[command(flatten)]
        by: By,
    },
    /// Back to what is configured
    Clear {
        /// Its name
        name: String,
        #[command(flatten)]
        by: By,
    },
}

/// The device registry.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Devices that store and HQ list
    List,
    /// Add a device, or describe it anew
    Set {
        /// Its id
        device: String,
        /// scale, cabinet, tag or steamer
        #[arg(long)]
        class: String,
        /// Address, serial number or place
        #[arg(long)]
        label: String,
    },
    /// Remove a device
    Remove {
        /// Its id
        device: String,
    },
}

/// Rights.
#[derive(Debug, Subcommand)]
pub(crate) enum RightsCommand {
    /// What the store holds, by article
    List {
        /// Only this article
        #[arg(long)]
        sku: Option<u64>,
    },
    /// Give rights back to HQ
    Return {
        /// Article
        sku: u64,
        /// Thousandths of the stock unit
        quantity_milli: i64,
    },
}

/// Statements.
#[derive(Debug, Subcommand)]
pub(crate) enum StatementCommand {
    /// Days and what became of their statements (exit 5 when HQ disputes one)
    List,
    /// One day: totals by account, tax rate and article
    Show {
        /// YYYY-MM-DD
        day: String,
        /// Write statement, proof and day root as FILE, FILE.proof and FILE.root, for sync-verify
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Sign what is booked so far
    Sign {
        /// YYYY-MM-DD
        day: String,
    },
}

/// Alarms.
#[derive(Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// Active alarms
    List {
        /// Those that returned, too
        #[arg(long)]
        all: bool,
    },
    /// Take notice of an alarm
    Ack {
        /// epoch.seq
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Put an alarm aside for a time
    Shelve {
        /// epoch.seq
        id: String,
        /// For how long
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        #[command(flatten)]
        by: By,
    },
}

/// Steam batches.
#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Open batches and the last closed ones
    List,
    /// Throw a batch away: what is left of it is written off
    Discard {
        /// epoch.seq
        id: String,
        #[command(flatten)]
        by: By,
    },
}

/// Who acts.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Who you are [default: $USER]
    #[arg(long)]
    by: Option<String>,
}

impl By {
    /// The name that goes on record.
    pub(crate) fn name(&self) -> String {
        let login = || std::env::var("USER").ok().filter(|name| !name.is_empty());
        self.by.clone().or_else(login).unwrap_or_else(|| "technician".to_owned())
    }
}
