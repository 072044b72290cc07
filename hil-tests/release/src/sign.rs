//! `cargo xtask sign-update`: a package becomes a signed update.

use anyhow::{Context, Result, ensure};
use clap::Args;
use ed25519_dalek::SigningKey;
use edge_update::{bundle, keys};
use hil_rig::run;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was asked for.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// The package
    #[arg(value_name = "DEB", required_unless_present = "new_key")]
    pub package: Option<PathBuf>,
    /// File with the secret key, 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Makes a key in that file, which must not exist, and prints the line for /etc/steelyard/update.keys
    #[arg(long, value_name = "NAME")]
    pub new_key: Option<String>,
    /// The update [default: beside the package, .update instead of .deb]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Prints one JSON line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn sign(args: &SignArgs) -> Result<()> {
    if let Some(name) = &args.new_key {
        return new_key(&args.key, name);
    }
    let package = args.package.as_deref().context("expected a package")?;
    let text =
        std::fs::read_to_string(&args.key).with_context(|| format!("cannot read {}", args.key.display()))?;
    let secret = keys::unhex(text.trim());
    let secret = secret.with_context(|| format!("{}: expected 64 hexadecimal digits", args.key.display()))?;
    let out = args.out.clone().unwrap_or_else(|| package.with_extension("update"));
    let manifest = seal(package, &SigningKey::from_bytes(&secret), &out)?;
    if args.json {
        println!("{}", json!({"sign_update": true, "file": out, "manifest": manifest}));
    } else {
        println!(
            "{}: {} {} {}, {} bytes",
            out.display(),
            manifest.package,
            manifest.version,
            manifest.architecture,
            manifest.size
        );
    }
    Ok(())
}

/// Writes the update of a package.
pub fn seal(package: &Path, key: &SigningKey, out: &Path) -> Result<bundle::Manifest> {
    let content = std::fs::read(package).with_context(|| format!("cannot read {}", package.display()))?;
    let field = |name: &str| -> Result<String> {
        let mut command = Command::new("dpkg-deb");
        Ok(run::output(command.arg("-f").arg(package).arg(name))?.trim().to_owned())
    };
    let manifest = bundle::describe(
        &field("Package")?,
        &field("Version")?,
        &field("Architecture")?,
        schema(package)?,
        &content,
    );
    ensure!(!manifest.version.is_empty(), "{} has no version", package.display());
    let bytes = bundle::seal(&manifest, &content, key).context("write the manifest")?;
    std::fs::write(out, bytes).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(manifest)
}

/// The newest ledger schema that the package knows, as its own preinst says.
fn schema(package: &Path) -> Result<i64> {
    let script = run::output(Command::new("dpkg-deb").args(["--info"]).arg(package).arg("preinst"))?;
    let line = script.lines().find_map(|line| line.strip_prefix("schema="));
    let line =
        line.with_context(|| format!("{} does not say which ledger schema it knows", package.display()))?;
    line.trim().parse().context("the schema's number")
}

fn new_key(file: &Path, name: &str) -> Result<()> {
    let mut secret = [0; 32];
    let mut random = std::fs::File::open("/dev/urandom").context("open the system's random numbers")?;
    random.read_exact(&mut secret).context("read random numbers")?;
    let line = format!("{} {name}", keys::hex(SigningKey::from_bytes(&secret).verifying_key().as_bytes()));
    // What edgectl will make of the line, before there is a key that nobody can be told to trust.
    let read = keys::parse("the line", &line).unwrap_or_default();
    ensure!(
        read.first().is_some_and(|key| key.name == name) && read.len() == 1,
        "expected a key's name in one line without #, found \"{name}\""
    );
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(file);
    let out = out.as_mut().map_err(|error| anyhow::anyhow!("cannot make {}: {error}", file.display()))?;
    writeln!(out, "{}", keys::hex(&secret)).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_under_a_name_that_can_be_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for name in ["", " ", "two\nlines", "release # 1", "release "] {
            let error = new_key(&file, name).unwrap_err().to_string();
            assert!(error.contains(&format!("found \"{name}\"")) && !file.exists(), "{name:?}: {error}");
        }
        new_key(&file, "release 2026").unwrap();
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(keys::unhex(secret.trim()).is_some());
        assert!(new_key(&file, "release 2026").unwrap_err().to_string().contains("cannot make"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    }
}
