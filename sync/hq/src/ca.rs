//! `sync-hq ca ...` and `sync-hq broker-config`: people's way to certificates and the broker's rules.

#![allow(clippy::print_stdout, reason = "a command's answer goes to standard output")]

use crate::BrokerAddress;
use crate::identity::{
    Authority, BrokerListener, Enrolment, KeyChoice, LEAF_DAYS, Registry, Role, Row, STORE_FILES, Snippet,
    Validity, acl_text, broker_text, unix_now_s,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use sync_model::StoreId;
use sync_mqtt::day;

/// What can be done with the CA.
#[derive(Subcommand)]
pub(crate) enum CaVerb {
    /// Make a CA, the broker's and HQ's certificates, and an empty revocation list.
    Init(InitArgs),
    /// Enrol a store: write its key, certificate, CA and configuration drop-in.
    Enroll(EnrollArgs),
    /// List certificates.
    List(ListArgs),
    /// Revoke a store's certificates and write the revocation list: the store is fenced.
    Revoke(RevokeArgs),
    /// Issue a store's next certificate; the one before stays valid. Nothing of it is secret unless the key is new.
    Rotate(RotateArgs),
    /// Issue new certificates and keys for broker and HQ.
    Equip(InitArgs),
}

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Folder of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// Host names and addresses under which clients find the broker.
    #[arg(long, value_delimiter = ',', default_value = "localhost,127.0.0.1")]
    broker_names: Vec<String>,
}

#[derive(Args)]
pub(crate) struct EnrollArgs {
    /// Folder of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// The store's number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    store: u32,
    /// Folder for the store's files; made when missing.
    #[arg(long)]
    out: PathBuf,
    /// The broker with TLS as the store finds it: HOST:PORT.
    #[arg(long)]
    broker: BrokerAddress,
    /// Where the files will lie at the store, for the configuration drop-in; default: the folder they are written to.
    #[arg(long)]
    installed_at: Option<PathBuf>,
    /// Days of validity.
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=11_000))]
    days: u32,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Folder of the CA; its key is not needed.
    #[arg(long)]
    dir: PathBuf,
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// Folder of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// The store's number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    store: u32,
    /// Only the certificate with this serial number, for instance after a rotation with a new key.
    #[arg(long)]
    serial: Option<u64>,
    /// Why; the store reads it.
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    /// Folder of the CA.
    #[arg(long)]
    dir: PathBuf,
    /// The store's number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    store: u32,
    /// Folder for the new files.
    #[arg(long)]
    out: PathBuf,
    /// A new key as well: for one that may have leaked.
    #[arg(long)]
    new_key: bool,
    /// Days of validity.
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=11_000))]
    days: u32,
}

#[derive(Args)]
pub(crate) struct BrokerArgs {
    /// Folder of the CA, as the broker will find it.
    #[arg(long)]
    dir: PathBuf,
    /// Address of the TLS listener.
    #[arg(long, default_value = "0.0.0.0:8883")]
    listen: SocketAddr,
    /// Folder for `mosquitto.conf` and `steelyard.acl`; made when missing.
    #[arg(long)]
    out: PathBuf,
    /// Folder for the broker's own memory; without it, it forgets with every restart, which costs nothing but traffic.
    #[arg(long)]
    persistence: Option<PathBuf>,
}

/// Does what was asked and says what was done.
pub(crate) fn run(verb: CaVerb) -> anyhow::Result<()> {
    let now_s = unix_now_s();
    match verb {
        CaVerb::Init(args) => {
            let authority = Authority::init(&args.dir, &args.broker_names, now_s)?;
            println!("{}: {}", args.dir.display(), authority.certificate());
        }
        CaVerb::Equip(args) => {
            Authority::open(&args.dir)?.equip(&args.broker_names, now_s)?;
            println!("{}: new certificates for broker and HQ; restart both", args.dir.display());
        }
        CaVerb::Enroll(args) => enroll(&args, now_s)?,
        CaVerb::List(args) => list(&args, now_s)?,
        CaVerb::Revoke(args) => {
            let mut authority = Authority::open(&args.dir)?;
            let count = authority.revoke(StoreId(args.store), args.serial, &args.reason, now_s)?;
            println!(
                "store {}: {count} certificates revoked; send the broker SIGHUP, it reads {} again",
                args.store,
                args.dir.join("crl.pem").display()
            );
        }
        CaVerb::Rotate(args) => {
            let key = if args.new_key { KeyChoice::New } else { KeyChoice::Keep };
            let validity = Validity::days(now_s, args.days);
            let mut authority = Authority::open(&args.dir)?;
            let row = authority.rotate(StoreId(args.store), key, &args.out, validity, now_s)?;
            say(&row, &args.out);
        }
    }
    Ok(())
}

fn enroll(args: &EnrollArgs, now_s: i64) -> anyhow::Result<()> {
    let store = StoreId(args.store);
    let folder = match &args.installed_at {
        Some(folder) => folder.clone(),
        None => std::path::absolute(&args.out).context("the working folder is not known")?,
    };
    let BrokerAddress { host, port } = args.broker.clone();
    let enrolment = Enrolment {
        store,
        out: args.out.clone(),
        snippet: Snippet { store, host, port, folder },
        validity: Validity::days(now_s, args.days),
    };
    let row = Authority::open(&args.dir)?.enroll(&enrolment, now_s)?;
    say(&row, &args.out);
    println!("{} belongs into the drop-in folder of the store's configuration", STORE_FILES[3]);
    Ok(())
}

fn say(row: &Row, out: &Path) {
    println!(
        "{}: serial {}, CN {}, valid {} to {}",
        out.display(),
        row.serial,
        row.name,
        day(row.not_before_s),
        day(row.not_after_s)
    );
}

fn list(args: &ListArgs, now_s: i64) -> anyhow::Result<()> {
    let registry = Registry::load(&args.dir.join("registry.json"))?;
    if args.json {
        let rows: Vec<_> = registry.rows.iter().map(|row| row_json(row, now_s)).collect();
        println!("{}", json!({"schema": "steelyard.certificates/1", "certificates": rows}));
        return Ok(());
    }
    println!(
        "{:>7}  {:<6}  {:<24}  {:<11}  {:<10}  {:<10}  key",
        "serial", "role", "name", "state", "from", "until"
    );
    for row in &registry.rows {
        let key: String = row.public_key.chars().take(16).collect();
        println!(
            "{:>7}  {:<6}  {:<24}  {:<11}  {:<10}  {:<10}  {key}{}",
            row.serial,
            role(row.role),
            row.name,
            row.state(now_s),
            day(row.not_before_s),
            day(row.not_after_s),
            row.revoked.as_ref().map_or(String::new(), |revocation| format!("  {}", revocation.reason)),
        );
    }
    Ok(())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Ca => "ca",
        Role::Broker => "broker",
        Role::Hq => "hq",
        Role::Store => "store",
    }
}

fn row_json(row: &Row, now_s: i64) -> serde_json::Value {
    json!({
        "serial": row.serial,
        "role": role(row.role),
        "name": row.name,
        "store": row.store,
        "state": row.state(now_s),
        "not_before": day(row.not_before_s),
        "not_after": day(row.not_after_s),
        "public_key_hex": row.public_key,
        "revoked": row.revoked,
    })
}

/// Writes mosquitto's files.
pub(crate) fn write_broker_config(args: &BrokerArgs) -> anyhow::Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).context("the working folder is not known");
    let (dir, out) = (absolute(&args.dir)?, absolute(&args.out)?);
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let (config, acl) = (out.join("mosquitto.conf"), out.join("steelyard.acl"));
    let listener = BrokerListener { tls: args.listen, persistence: args.persistence.clone() };
    for (path, text) in [(&acl, acl_text()), (&config, broker_text(&listener, &dir, &acl))] {
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}
