//! The number of a ledger's schema, read from the files that SQLite keeps, beside a daemon that has them open.
//!
//! It is SQLite's `user_version`: 4 bytes at 60 of page 1. The newest page 1 may be in the write-ahead log, which a running or
//! killed daemon leaves: a 32-byte header with two salts, then frames of 24 bytes and a page each; a frame with other salts is
//! left over from before (SQLite's file format, sections 1.3 and 4.1). A frame whose commit is missing is read, too: the number
//! only grows, and an update is then refused rather than let through.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Where `user_version` is in page 1.
const SCHEMA_AT: usize = 60;
/// The log's header.
const LOG_HEADER: usize = 32;
/// A frame's header.
const FRAME_HEADER: usize = 24;
/// Without its last bit, which tells the order of bytes in checksums.
const LOG_MAGIC: u32 = 0x377f_0682;

/// Page 1 up to the number.
type Begin = [u8; SCHEMA_AT + 4];

/// The schema of a ledger; `None`: there is none, or a file in which nothing was ever written.
pub(crate) fn of(ledger: &Path) -> Result<Option<i64>, String> {
    let Some(mut file) = open(ledger)? else { return Ok(None) };
    let mut log = ledger.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    let newest = match open(&log)? {
        Some(file) => in_log(file).map_err(|error| said(&log, &error))?,
        None => None,
    };
    let bytes = file.metadata().map_err(|error| said(ledger, &error))?.len();
    let page: Begin = match newest {
        Some(page) => page,
        None if bytes == 0 => return Ok(None),
        None => {
            let mut page = [0; SCHEMA_AT + 4];
            file.read_exact(&mut page).map_err(|error| said(ledger, &error))?;
            page
        }
    };
    let [.., a, b, c, d] = page;
    Ok(Some(u32::from_be_bytes([a, b, c, d]).into()))
}

fn said(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn open(path: &Path) -> Result<Option<File>, String> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|error| said(path, &error)),
    }
}

/// The beginning of the newest page 1 in a log.
fn in_log(file: File) -> std::io::Result<Option<Begin>> {
    let mut file = BufReader::new(file);
    let Some(header) = next::<LOG_HEADER>(&mut file)? else { return Ok(None) };
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
    };
    let page_bytes = i64::from(word(&header, 8));
    if word(&header, 0) & !1 != LOG_MAGIC || page_bytes < 512 {
        return Ok(None);
    }
    let mut newest = None;
    while let Some(frame) = next::<FRAME_HEADER>(&mut file)? {
        if frame.get(8..16) != header.get(16..24) {
            break;
        }
        let mut skip = page_bytes;
        if word(&frame, 0) == 1 {
            let Some(page) = next::<{ SCHEMA_AT + 4 }>(&mut file)? else { break };
            newest = Some(page);
            skip -= i64::try_from(page.len()).unwrap_or(0);
        }
        file.seek_relative(skip)?;
    }
    Ok(newest)
}

/// The next bytes; `None` where the file ends before.
fn next<const N: usize>(file: &mut BufReader<File>) -> std::io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn the_newest_number_is_found_wherever_sqlite_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        assert_eq!(of(&path), Ok(None));
        let ledger = Connection::open(&path).unwrap();
        ledger.pragma_update(None, "journal_mode", "wal").unwrap();
        let rows = "INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) \
                    SELECT randomblob(900) FROM n";
        let text = format!("CREATE TABLE a (b BLOB); {rows}; PRAGMA user_version = 6; {rows};");
        ledger.execute_batch(&text).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[60..64], [0; 4], "it is in the log only");
        assert_eq!(of(&path), Ok(Some(6)));
        // The log starts over: what is left of its last round has other salts.
        ledger.execute_batch("PRAGMA wal_checkpoint(RESTART); PRAGMA user_version = 7;").unwrap();
        assert_eq!(of(&path), Ok(Some(7)));
        ledger.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
        assert_eq!(of(&path), Ok(Some(7)));
        drop(ledger);
        assert_eq!(of(&path), Ok(Some(7)));
    }

    #[test]
    fn a_ledger_that_is_cut_short_is_named_and_a_log_that_is_none_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        std::fs::write(&path, []).unwrap();
        assert_eq!(of(&path), Ok(None), "as the package's preinst sees it");
        std::fs::write(&path, [0; 62]).unwrap();
        assert!(of(&path).unwrap_err().contains("ledger.db"));
        std::fs::write(&path, [[0; 63].as_slice(), &[6, 0]].concat()).unwrap();
        assert_eq!(of(&path), Ok(Some(6)));
        for log in [vec![], vec![0xFF; 4_000], vec![0; 31]] {
            std::fs::write(folder.path().join("ledger.db-wal"), log).unwrap();
            assert_eq!(of(&path), Ok(Some(6)));
        }
    }
}
