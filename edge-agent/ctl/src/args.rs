//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Looks at a Steelyard store and tends it.
#[derive(Debug, Parser)]
#[command(name = "edgectl", version, arg_required_else_help = true, after_help = EXIT_HELP)]
pub struct Arguments {
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
        let usual = match self.command {
            Command::Ledger(_) | Command::Statement(_) => 600,
            Command::Device(DeviceCommand::Probe { .. }) => 60,
            _ => 10,
        };
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
    /// Raw samples of a device, one by one or summed up by interval
    Telemetry(TelemetryArguments),
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
    /// Shelf tags: the plan, what blocks it, LEDs for pickers, pictures of labels
    #[command(subcommand)]
    Tag(TagCommand),
    /// The first ten checks, with what to do (exit 5 when one fails)
    Doctor,
    /// Read the configuration again
    Reload,
    /// Install a signed update, watch it, and go back by itself when it is not well (root; exit 6 when it is refused)
    Update(UpdateArguments),
}

/// Which update, and how it is watched.
#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// Made by `cargo xtask sign-update`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only say whether it would be taken
    #[arg(long)]
    pub(crate) check: bool,
    /// Seconds until the new version must answer
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub(crate) patience: u64,
    /// Seconds that it must then run well
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) watch: u64,
    /// Also when it raises the ledger's schema, from which there is no way back
    #[arg(long)]
    pub(crate) one_way: bool,
    /// Who may sign
    #[arg(long, value_name = "FILE", default_value = "/etc/steelyard/update.keys")]
    pub(crate) keys: PathBuf,
    /// Programs to call with before, after and rolled-back
    #[arg(long, value_name = "FOLDER", default_value = "/etc/steelyard/update.d")]
    pub(crate) hooks: PathBuf,
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "/var/lib/steelyard/ledger.db")]
    pub(crate) ledger: PathBuf,
    /// Where the packages are kept; root's alone
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/steelyard-updates")]
    pub(crate) kept: PathBuf,
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
    /// Set a scale to zero (exit 4 when it refuses)
    Zero {
        /// The scale
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Tare a scale with what lies on it, or with a known tare (exit 4 when it refuses)
    Tare {
        /// The scale
        id: String,
        /// This tare instead of what lies on the platform; 0 forgets the tare
        #[arg(long, value_name = "GRAMS", value_parser = clap::value_parser!(i64).range(0..=100_000))]
        grams: Option<i64>,
        #[command(flatten)]
        by: By,
    },
    /// Reads a Modbus device at each address offset its manual may mean, and says which is plausible; writes nothing
    Probe {
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

/// Which samples, and how.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArguments {
    /// Device id
    pub(crate) device: String,
    /// Begin: 24h or 30d ago, YYYY-MM-DD, YYYY-MM-DDTHH:MM[:SS] (UTC), or now
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = time)]
    pub(crate) from: i64,
    /// End, in the same forms
    #[arg(long, default_value = "now", value_name = "TIME", value_parser = time)]
    pub(crate) to: i64,
    /// Sum up: least, mean and greatest good value of each 30s, 15m, 1h or 1d
    #[arg(long, value_name = "SPAN", value_parser = every)]
    pub(crate) every: Option<i64>,
    /// Which value of the device; 1 is its temperature
    #[arg(long, default_value_t = edge_api::TEMPERATURE)]
    pub(crate) metric: u8,
    /// Comma-separated integers as they are stored
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

fn time(text: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    crate::text::instant(text, now).ok_or_else(|| {
        "expected now, 90m, 24h or 30d (that long ago), YYYY-MM-DD or YYYY-MM-DDTHH:MM[:SS] (UTC)".into()
    })
}

fn every(text: &str) -> Result<i64, String> {
    crate::text::span(text)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "expected a number from 1 with s, m, h or d, such as 15m".into())
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

/// Shelf tags.
#[derive(Debug, Subcommand)]
pub(crate) enum TagCommand {
    /// Draw a label as a tag would show it, into a PNG file (exit 5 when something was shortened or left out)
    Preview(Box<PreviewArguments>),
    /// Tags with what they show, should show, and what blocks them
    List {
        /// Only those that are blocked, or may show something else than they confirmed
        #[arg(long)]
        bad: bool,
    },
    /// How far the labels are, when they should be done, which prices wait for them
    Plan,
    /// Flash the LEDs of an order's tags, one colour per order
    Flash {
        /// The picker's order
        #[arg(long)]
        order: u64,
        /// red, green, blue, yellow, cyan, magenta or white
        #[arg(long)]
        color: String,
        /// For how long at most
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
        /// Their ids
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// An order is picked: its LEDs need not flash any more, its colour is free
    Picked {
        /// The picker's order
        #[arg(long)]
        order: u64,
    },
}

/// What the label says; a tag gives article and model, an article gives name, unit and price.
#[derive(Clone, Debug, Args)]
pub(crate) struct PreviewArguments {
    /// A configured tag
    #[arg(long, required_unless_present_any = ["article", "price"])]
    pub(crate) tag: Option<String>,
    /// An article of the price book
    #[arg(long, value_name = "SKU")]
    pub(crate) article: Option<u64>,
    /// Panel by its model number, as in 0x4b
    #[arg(long, value_parser = model, required_unless_present = "tag")]
    pub(crate) model: Option<u16>,
    /// Template [default: the configured one]
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// Name on the label
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Price, as in 12.80
    #[arg(long, value_parser = minor)]
    pub(crate) price: Option<i64>,
    /// Price before, struck through
    #[arg(long, value_parser = minor)]
    pub(crate) was: Option<i64>,
    /// Price per unit of measure
    #[arg(long, value_parser = minor)]
    pub(crate) unit_price: Option<i64>,
    /// Unit of measure, as in /500g
    #[arg(long)]
    pub(crate) measure: Option<String>,
    /// What the price is for, as in /kg
    #[arg(long)]
    pub(crate) unit: Option<String>,
    /// A line of its own
    #[arg(long)]
    pub(crate) note: Option<String>,
    /// Content of the QR code
    #[arg(long)]
    pub(crate) link: Option<String>,
    /// Where the article comes from
    #[arg(long)]
    pub(crate) origin: Option<String>,
    /// Pixels of the file for one of the tag, each way
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) zoom: u16,
    /// The file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// A model number, decimal or hexadecimal.
fn model(text: &str) -> Result<u16, String> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let read = hex.map_or_else(|| text.parse(), |digits| u16::from_str_radix(digits, 16));
    read.map_err(|_| "expected a model number such as 75 or 0x4b".to_owned())
}

/// An amount with at most two decimals, exactly.
fn minor(text: &str) -> Result<i64, String> {
    let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && digits(whole) && digits(cents) && cents.len() <= 2;
    let amount = format!("{whole}{cents:0<2}").parse().ok().filter(|_| fits);
    amount.ok_or_else(|| "expected an amount such as 12.80".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        assert_eq!(
            (minor("12.80"), minor("12.8"), minor("12"), minor("0.05")),
            (Ok(1280), Ok(1280), Ok(1200), Ok(5))
        );
        for text in ["", ".5", "-1", "1.234", "1,20", "1e3", "99999999999999999999"] {
            assert!(minor(text).is_err(), "{text}");
        }
        assert_eq!((model("0x4B"), model("75")), (Ok(75), Ok(75)));
        assert!(model("0x12345").is_err() && model("4b").is_err());
    }
}
