//! Configuration: one TOML file, a folder of drop-ins, device profiles; read as a whole or refused as a whole.
//!
//! Contract
//! * `FILE` plus `FILE.d/*.toml` in name order (see [`tree`] for how they merge).
//! * Every complaint reads `file:line:column: key: expected X, found Y`. Structure errors end the reading; otherwise all
//!   complaints are reported together.
//! * Relative paths are relative to the folder of `FILE`.
//! * Nothing here starts anything: [`load`] either gives a checked [`Config`] or complaints.

mod check;
mod de;
mod items;
mod sections;
mod tree;

pub use sections::*;
pub use tree::Place;

use drv_host::HostConfig;
use drv_protocol::profile::Profile;
use drv_render::Template;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tree::Node;

/// One complaint about the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// Which key, empty for the file itself.
    pub key: String,
    /// What would have been accepted.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, expected, found } = self;
        match key.as_str() {
            "" => write!(f, "{place}: expected {expected}, found {found}"),
            key => write!(f, "{place}: {key}: expected {expected}, found {found}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Every complaint of one reading; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main file as it was named.
    pub path: PathBuf,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
    /// Who this store is.
    pub store: StoreSection,
    /// Where facts are kept.
    pub ledger: LedgerSection,
    /// Where people and tills connect.
    pub api: ApiSection,
    /// The way to headquarters.
    pub hq: Option<HqSection>,
    /// Shares per sales channel.
    pub channels: Channels,
    /// Raw samples.
    pub telemetry: TelemetrySection,
    /// The price and tag pump.
    pub prices: PricesSection,
    /// Shelf tags' looks.
    pub labels: LabelsSection,
    /// Templates by name.
    pub templates: BTreeMap<String, Template>,
    /// Rules for steamers.
    pub steam: SteamSection,
    /// Defaults of cabinets.
    pub cabinets: CabinetsSection,
    /// What the doctor expects of backups.
    pub backup: BackupSection,
    /// Devices.
    pub host: HostConfig,
    /// Device profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// What is wrong with the store's certificate files. `check` fails with it; a running store trades on without HQ.
    pub identity: Vec<ConfigError>,
}

/// The file's own shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    store: StoreSection,
    ledger: LedgerSection,
    api: ApiSection,
    hq: Option<HqSection>,
    #[serde(default)]
    channels: Channels,
    profiles: Option<ProfilesSection>,
    #[serde(default)]
    telemetry: TelemetrySection,
    #[serde(default)]
    prices: PricesSection,
    #[serde(default)]
    labels: LabelsSection,
    #[serde(default)]
    steam: SteamSection,
    #[serde(default)]
    cabinets: CabinetsSection,
    #[serde(default)]
    backup: BackupSection,
    #[serde(default)]
    bus: Vec<drv_host::config::BusConfig>,
    #[serde(default)]
    scale: Vec<drv_host::config::ScaleConfig>,
    #[serde(default)]
    cabinet: Vec<drv_host::config::CabinetConfig>,
    #[serde(default)]
    steamer: Vec<drv_host::config::SteamerConfig>,
    #[serde(default)]
    tag: Vec<drv_host::config::TagConfig>,
    ble: Option<drv_host::config::BleConfig>,
    #[serde(default)]
    i2c: Vec<drv_host::config::I2cConfig>,
    w1: Option<drv_host::config::W1Config>,
}

/// Reads and checks `path` with its drop-ins and profiles.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let (root, files) = read_tree(path)?;
    let shape: FileShape = de::read(&root)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let profiles = match &shape.profiles {
        Some(section) => read_profiles(&base.join(&section.dir), &root)?,
        None => BTreeMap::new(),
    };
    let templates = read_templates(shape.labels.templates.as_deref().map(|dir| base.join(dir)), &root)?;
    let mut config = Config {
        path: path.to_path_buf(),
        files,
        store: shape.store,
        ledger: shape.ledger,
        api: shape.api,
        hq: shape.hq,
        channels: shape.channels,
        telemetry: shape.telemetry,
        prices: shape.prices,
        labels: shape.labels,
        templates,
        steam: shape.steam,
        cabinets: shape.cabinets,
        backup: shape.backup,
        host: HostConfig {
            bus: shape.bus,
            scale: shape.scale,
            cabinet: shape.cabinet,
            steamer: shape.steamer,
            tag: shape.tag,
            ble: shape.ble,
            i2c: shape.i2c,
            w1: shape.w1,
        },
        profiles,
        identity: Vec::new(),
    };
    config.ledger.dir = base.join(&config.ledger.dir);
    config.api.socket = base.join(&config.api.socket);
    if let Some(tls) = config.hq.as_mut().and_then(|hq| hq.tls.as_mut()) {
        for file in [&mut tls.ca, &mut tls.cert, &mut tls.key] {
            *file = base.join(&*file);
        }
    }
    config.identity = check::identity(&config, &root);
    let complaints = check::check(&config, &root);
    if complaints.is_empty() { Ok(config) } else { Err(ConfigErrors(complaints)) }
}

/// The main file and its drop-ins as one tree.
fn read_tree(path: &Path) -> Result<(Node, Vec<PathBuf>), ConfigError> {
    let mut files = vec![path.to_path_buf()];
    let mut folder = path.as_os_str().to_os_string();
    folder.push(".d");
    // `store.toml` is completed by `store.toml.d` or, shorter to type, `store.d`.
    for folder in [PathBuf::from(folder), path.with_extension("d")] {
        files.extend(toml_files(&folder)?);
    }
    let mut root: Option<Node> = None;
    for file in &files {
        let node = tree::parse(&file.display().to_string(), &read_text(file)?)?;
        match &mut root {
            Some(root) => tree::merge(root, node, "")?,
            None => root = Some(node),
        }
    }
    let root = root.expect("the list of files starts with the main file");
    Ok((root, files))
}

/// `*.toml` of a folder in name order; a missing folder has none.
fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, "a readable folder", &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, "a readable folder", &error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|error| unreadable(file, "a readable UTF-8 file", &error))
}

fn unreadable(path: &Path, expected: &str, error: &std::io::Error) -> ConfigError {
    ConfigError {
        place: Place { file: path.display().to_string().into(), line: 1, column: 1 },
        key: String::new(),
        expected: expected.into(),
        found: error.to_string(),
    }
}

/// Every profile of the folder, each through its own check.
fn read_profiles(folder: &Path, root: &Node) -> Result<BTreeMap<String, Profile>, ConfigErrors> {
    if !folder.is_dir() {
        return Err(ConfigError {
            place: tree::find(root, "profiles.dir"),
            key: "profiles.dir".into(),
            expected: "a folder of device profiles".into(),
            found: format!("nothing at {}", folder.display()),
        }
        .into());
    }
    let mut profiles = BTreeMap::new();
    for file in toml_files(folder)? {
        let node = tree::parse(&file.display().to_string(), &read_text(&file)?)?;
        let profile: Profile = de::read(&node)?;
        profile.review().map_err(|(place, error)| ConfigError {
            place: tree::find(&node, &place.to_string()),
            key: place.to_string(),
            expected: "a consistent profile".into(),
            found: error.to_string(),
        })?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        profiles.insert(name, profile);
    }
    Ok(profiles)
}

/// The templates that come with the daemon.
const TEMPLATES: [(&str, &str); 2] = [
    ("shelf", include_str!("../../../../configs/templates/shelf.toml")),
    ("promotion", include_str!("../../../../configs/templates/promotion.toml")),
];

/// Every template of the folder, each through its own check; those of the daemon without a folder.
fn read_templates(folder: Option<PathBuf>, root: &Node) -> Result<BTreeMap<String, Template>, ConfigErrors> {
    let Some(folder) = folder else {
        let read = |(name, text): (&str, &str)| {
            Ok((name.into(), read_template(&format!("built-in {name}.toml"), text)?))
        };
        return TEMPLATES.into_iter().map(read).collect();
    };
    if !folder.is_dir() {
        return Err(ConfigError {
            place: tree::find(root, "labels.templates"),
            key: "labels.templates".into(),
            expected: "a folder of templates".into(),
            found: format!("nothing at {}", folder.display()),
        }
        .into());
    }
    let mut templates = BTreeMap::new();
    for file in toml_files(&folder)? {
        let template = read_template(&file.display().to_string(), &read_text(&file)?)?;
        templates.insert(file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), template);
    }
    Ok(templates)
}

fn read_template(file: &str, text: &str) -> Result<Template, ConfigError> {
    let node = tree::parse(file, text)?;
    let template: Template = de::read(&node)?;
    template.check().map_err(|error| ConfigError {
        place: tree::find(&node, &error.path),
        found: tree::found(&node, &error.path),
        expected: error.fault.to_string(),
        key: error.path,
    })?;
    Ok(template)
}
