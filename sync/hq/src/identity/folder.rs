//! Files of an identity: written atomically, secrets readable by their owner only.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use sync_model::StoreId;

/// What an enrolment writes: CA, certificate, key, and a configuration drop-in for `edge-agent`.
pub const STORE_FILES: [&str; 4] = ["ca.pem", "store.pem", "store.key", "hq.toml"];

/// The configuration that `edge-agent` needs for HQ, as a drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The store, for the reader.
    pub store: StoreId,
    /// Broker's host.
    pub host: String,
    /// Broker's TLS port.
    pub port: u16,
    /// Folder of the files at the store.
    pub folder: PathBuf,
}

impl Snippet {
    /// The file's text.
    pub fn text(&self) -> String {
        let file = |name: &str| toml_text(&self.folder.join(name).to_string_lossy());
        let [ca, cert, key, _] = STORE_FILES.map(file);
        format!(
            "# Store {}: its way to headquarters. Belongs into the drop-in folder of the store's configuration.\n\
             [hq]\nhost = {}\nport = {}\n\n[hq.tls]\nca = {ca}\ncert = {cert}\nkey = {key}\n",
            self.store,
            toml_text(&self.host),
            self.port
        )
    }
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Writes a file whole or not at all, and durably.
pub(super) fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "not a file name"))?;
    let draft = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = write_draft(&draft, content, mode).and_then(|()| std::fs::rename(&draft, path));
    if let Err(error) = written {
        // Best effort: the draft is ours, and the error tells what matters.
        drop(std::fs::remove_file(&draft));
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_draft(draft: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_replaced_whole_and_keep_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        for content in ["a long first content", "short"] {
            write_file(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_file(&folder.path().join("none/x"), b"", 0o600).is_err());
    }

    #[test]
    fn the_snippet_is_toml_whatever_the_names() {
        let folder = PathBuf::from("/srv/\"odd\"\\\u{1}");
        let snippet = Snippet { store: StoreId(7), host: "hq.example".into(), port: 8_883, folder };
        let expected = "[hq]\nhost = \"hq.example\"\nport = 8883\n\n[hq.tls]\nca = \"/srv/\\\"odd\\\"\\\\\\u0001/ca.pem\"\n";
        assert!(snippet.text().contains(expected), "{}", snippet.text());
    }
}
