//! What a program did to the files of one folder, read from `strace`.
//!
//! The order is that of completion: a call that was still under way counts from when it returned. Every traced call that
//! touches the folder is understood or the reading fails; nothing is skipped in silence. Files are numbers, as inodes are;
//! names are bound to them by the operations on the folder.

use crate::acks::Ack;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The calls that are recorded: all that change files or their durability, and what moves a file position.
const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,fsync,\
    fdatasync,sync,syncfs,sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,\
    mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice";

/// A change of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A name for a new file.
    Create(String, usize),
    /// Another name for a file; whatever had that name loses it.
    Rename(String, String, usize),
    /// A file loses its name.
    Unlink(String, usize),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Entry(Entry),
    Write { file: usize, at: usize, bytes: Arc<[u8]> },
    Length { file: usize, length: usize },
    Sync { file: usize },
    SyncFolder,
    Ack(Ack),
}

/// A recorded run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// What was there before, by file number: all durable.
    pub(crate) before: Vec<(String, Arc<Vec<u8>>)>,
    /// In order.
    pub(crate) ops: Vec<Op>,
    /// Name of every file number when it was made.
    pub(crate) names: Vec<String>,
}

/// Why programs cannot be traced here; `None` when they can.
pub(crate) fn unable() -> Option<String> {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-qq", "-o", "/dev/null", "true"]).stdin(Stdio::null());
    match probe.output() {
        Err(error) => Some(format!("strace does not start: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("strace cannot trace here: {}", said.trim()))
        }
        Ok(_) => None,
    }
}

/// Records a program; its trace is left at `to`.
pub(crate) fn record(program: &Path, arguments: &[&str], to: &Path) -> Result<()> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-xx", "-s", "4194304", "--seccomp-bpf", "-e", "signal=none"]);
    strace.arg("-e").arg(format!("trace={CALLS}")).arg("-o").arg(to).arg(program).args(arguments);
    let output = strace.stdin(Stdio::null()).output().context("strace")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} under strace: {}", program.display(), said.trim());
    Ok(())
}

/// Reads the files of a folder as they are now.
pub(crate) fn files(folder: &Path) -> Result<Vec<(String, Arc<Vec<u8>>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, Arc::new(std::fs::read(entry.path())?)));
    }
    files.sort();
    Ok(files)
}

impl Trace {
    /// Reads the trace of a run in `folder` that began with `before`.
    pub(crate) fn read(path: &Path, folder: &str, before: Vec<(String, Arc<Vec<u8>>)>) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text, folder, before)
    }

    fn parse(text: &str, folder: &str, before: Vec<(String, Arc<Vec<u8>>)>) -> Result<Self> {
        let names: Vec<String> = before.iter().map(|(name, _)| name.clone()).collect();
        let bound = names.iter().enumerate().map(|(file, name)| (name.clone(), file)).collect();
        let lengths = before.iter().map(|(_, bytes)| bytes.len()).collect();
        let trace = Self { before, ops: Vec::new(), names };
        let mut reading = Reading {
            trace,
            folder: folder.to_owned(),
            bound,
            lengths,
            positions: HashMap::new(),
            said: String::new(),
        };
        let mut unfinished: HashMap<&str, &str> = HashMap::new();
        for line in text.lines() {
            let (process, rest) = line.split_once(' ').context("a line without a process")?;
            let rest = rest.trim_start();
            if let Some(call) = rest.strip_suffix(" <unfinished ...>") {
                unfinished.insert(process, call);
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let begun = unfinished.remove(process).context("a call ends that did not begin")?;
                let (_, end) = resumed.split_once(" resumed>").context("no end of a resumed call")?;
                reading.line(&format!("{begun}{end}"))?;
            } else if rest.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                reading.line(rest)?;
            }
        }
        ensure!(reading.said.is_empty(), "the last acknowledgement is torn");
        Ok(reading.trace)
    }

    /// The same run by a program that forgets to sync some files: proves that the checks would see it.
    pub(crate) fn without_syncs(mut self, of: impl Fn(&str) -> bool) -> Self {
        let names = self.names.clone();
        self.ops.retain(|op| match op {
            Op::Sync { file } => !names.get(*file).is_some_and(|name| of(name)),
            _ => true,
        });
        self
    }

    /// The same run by a program that acknowledges before its last sync: every acknowledgement moves before it.
    pub(crate) fn acknowledged_early(mut self) -> Self {
        for at in 1..self.ops.len() {
            if !matches!(self.ops.get(at), Some(Op::Ack(_))) {
                continue;
            }
            let synced = self.ops.iter().take(at).rposition(|op| matches!(op, Op::Sync { .. }));
            if let Some(synced) = synced {
                let ack = self.ops.remove(at);
                self.ops.insert(synced, ack);
            }
        }
        self
    }
}

/// A file descriptor with the path that strace names, or a path alone.
enum Argument {
    Descriptor { number: i64, path: String },
    Text(Vec<u8>),
    Word(String),
}

struct Reading {
    trace: Trace,
    folder: String,
    bound: BTreeMap<String, usize>,
    lengths: Vec<usize>,
    /// Where a descriptor stands in its file.
    positions: HashMap<i64, usize>,
    /// Begin of an acknowledgement whose line is not complete.
    said: String,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<()> {
        let (call, rest) = line.split_once('(').context("no call")?;
        let (arguments, result) = arguments(rest).with_context(|| short(line))?;
        // A call that failed changed nothing; one that never returned is at the end of the run.
        let Some(result) = result.trim().strip_prefix("= ").filter(|result| !result.starts_with(['-', '?']))
        else {
            return Ok(());
        };
        self.call(call, &arguments, result).with_context(|| short(line))
    }

    /// The name of a path in the folder.
    fn name(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(&self.folder)?.strip_prefix('/')?;
        // The memory that processes share is not on the disk.
        (!name.ends_with("-shm")).then(|| name.to_owned())
    }

    fn file(&self, argument: Option<&Argument>) -> Result<Option<(i64, usize)>> {
        let Some(Argument::Descriptor { number, path }) = argument else { return Ok(None) };
        let Some(name) = self.name(path) else { return Ok(None) };
        let file = self.bound.get(&name).with_context(|| format!("nobody made {name}"))?;
        Ok(Some((*number, *file)))
    }

    fn call(&mut self, call: &str, arguments: &[Argument], result: &str) -> Result<()> {
        let (returned, _) = result.split_once(['<', ' ']).unwrap_or((result, ""));
        let returned: i64 = returned.trim().parse().context("what it returned")?;
        match call {
            "openat" => self.open(arguments, returned),
            "write" | "pwrite64" => self.write(arguments, usize::try_from(returned)?),
            "lseek" => {
                if let Some((number, _)) = self.file(arguments.first())? {
                    self.positions.insert(number, usize::try_from(returned)?);
                }
                Ok(())
            }
            "ftruncate" => {
                if let Some((_, file)) = self.file(arguments.first())? {
                    self.set_length(file, number(arguments, 1)?)?;
                }
                Ok(())
            }
            "fallocate" => {
                if let Some((_, file)) = self.file(arguments.first())? {
                    ensure!(number(arguments, 1)? == 0, "a hole is punched");
                    let end = number(arguments, 2)? + number(arguments, 3)?;
                    if self.lengths.get(file).is_some_and(|length| *length < end) {
                        self.set_length(file, end)?;
                    }
                }
                Ok(())
            }
            "fsync" | "fdatasync" => self.sync(arguments),
            "rename" | "unlink" | "unlinkat" => self.entry(call, arguments),
            _ => {
                let ours = |argument: &Argument| match argument {
                    Argument::Descriptor { path, .. } => self.name(path).is_some(),
                    Argument::Text(text) => self.name(&String::from_utf8_lossy(text)).is_some(),
                    Argument::Word(_) => false,
                };
                ensure!(!arguments.iter().any(ours), "the call is not modelled");
                Ok(())
            }
        }
    }

    fn open(&mut self, arguments: &[Argument], descriptor: i64) -> Result<()> {
        let Some(name) = self.name(&text(arguments, 1)?) else { return Ok(()) };
        let Some(Argument::Word(flags)) = arguments.get(2) else { bail!("no flags") };
        ensure!(!flags.contains("O_APPEND"), "appending is not modelled");
        ensure!(
            !flags.contains("O_SYNC") && !flags.contains("O_DSYNC"),
            "synchronous writing is not modelled"
        );
        self.positions.insert(descriptor, 0);
        match self.bound.get(&name) {
            Some(file) if flags.contains("O_TRUNC") => self.set_length(*file, 0),
            Some(_) => Ok(()),
            None => {
                ensure!(flags.contains("O_CREAT"), "{name} is opened and nobody made it");
                let file = self.lengths.len();
                self.lengths.push(0);
                self.trace.names.push(name.clone());
                self.bound.insert(name.clone(), file);
                self.trace.ops.push(Op::Entry(Entry::Create(name, file)));
                Ok(())
            }
        }
    }

    fn write(&mut self, arguments: &[Argument], written: usize) -> Result<()> {
        let Some(Argument::Text(bytes)) = arguments.get(1) else { bail!("no bytes") };
        if let Some(Argument::Descriptor { number: 1, .. }) = arguments.first() {
            self.said.push_str(&String::from_utf8_lossy(bytes));
            while let Some((line, rest)) = self.said.split_once('\n') {
                let ack = Ack::parse(line).with_context(|| format!("no acknowledgement: {line}"))?;
                self.trace.ops.push(Op::Ack(ack));
                self.said = rest.to_owned();
            }
            return Ok(());
        }
        let Some((descriptor, file)) = self.file(arguments.first())? else { return Ok(()) };
        let bytes = bytes.get(..written).context("the bytes are not all in the trace")?;
        let at = if arguments.len() > 3 {
            number(arguments, 3)?
        } else {
            let position = self.positions.get_mut(&descriptor).context("a position is not known")?;
            let at = *position;
            *position += written;
            at
        };
        let length = self.lengths.get_mut(file).context("a file number")?;
        *length = (*length).max(at + written);
        self.trace.ops.push(Op::Write { file, at, bytes: bytes.into() });
        Ok(())
    }

    fn set_length(&mut self, file: usize, length: usize) -> Result<()> {
        *self.lengths.get_mut(file).context("a file number")? = length;
        self.trace.ops.push(Op::Length { file, length });
        Ok(())
    }

    fn sync(&mut self, arguments: &[Argument]) -> Result<()> {
        let Some(Argument::Descriptor { path, .. }) = arguments.first() else { bail!("no descriptor") };
        if *path == self.folder {
            self.trace.ops.push(Op::SyncFolder);
        } else if let Some((_, file)) = self.file(arguments.first())? {
            self.trace.ops.push(Op::Sync { file });
        }
        Ok(())
    }

    fn entry(&mut self, call: &str, arguments: &[Argument]) -> Result<()> {
        let from = text(arguments, usize::from(call == "unlinkat"))?;
        let Some(from) = self.name(&from) else { return Ok(()) };
        let file = self.bound.remove(&from).with_context(|| format!("nobody made {from}"))?;
        let entry = if call == "rename" {
            let to = text(arguments, 1)?;
            let to = self.name(&to).with_context(|| format!("renamed out of the folder, to {to}"))?;
            self.bound.insert(to.clone(), file);
            Entry::Rename(from, to, file)
        } else {
            Entry::Unlink(from, file)
        };
        self.trace.ops.push(Op::Entry(entry));
        Ok(())
    }
}

fn short(line: &str) -> String {
    line.chars().take(200).collect()
}

fn text(arguments: &[Argument], at: usize) -> Result<String> {
    match arguments.get(at) {
        Some(Argument::Text(bytes)) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => bail!("argument {at} is no text"),
    }
}

fn number(arguments: &[Argument], at: usize) -> Result<usize> {
    match arguments.get(at) {
        Some(Argument::Word(word)) => {
            word.parse().with_context(|| format!("argument {at} is no number: {word}"))
        }
        _ => bail!("argument {at} is no number"),
    }
}

/// Arguments and what follows their closing parenthesis.
fn arguments(rest: &str) -> Result<(Vec<Argument>, &str)> {
    let mut found = Vec::new();
    let mut rest = rest;
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix(')') {
            return Ok((found, after));
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (escaped, after) = quoted.split_once('"').context("a text without an end")?;
            ensure!(!after.starts_with("..."), "a text is cut short");
            found.push(Argument::Text(unescape(escaped)?));
            rest = after;
            continue;
        }
        let end = rest.find([',', ')', '<']).context("an argument without an end")?;
        let (word, after) = rest.split_at(end);
        if let Some(path) = after.strip_prefix('<') {
            let (path, after) = path.split_once('>').context("a path without an end")?;
            let path = String::from_utf8_lossy(&unescape(path)?).into_owned();
            // AT_FDCWD has a path, too, and no number.
            let number = word.parse().unwrap_or(-1);
            found.push(Argument::Descriptor { number, path });
            rest = after.strip_prefix("(deleted)").unwrap_or(after);
        } else {
            found.push(Argument::Word(word.trim().to_owned()));
            rest = after;
        }
    }
}

/// Text in which bytes may stand as `\xHH`.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len() / 4);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' {
            ensure!(bytes.get(at + 1) == Some(&b'x'), "an escape that is not hexadecimal");
            let digit = |place: usize| bytes.get(place).and_then(|digit| char::from(*digit).to_digit(16));
            let value = digit(at + 2).zip(digit(at + 3)).map(|(high, low)| high * 16 + low);
            plain.push(u8::try_from(value.context("an escape without its digits")?)?);
            at += 4;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn calls_count_from_when_they_return_and_positions_are_followed() {
        let (path, other, folder) = (hex("/d/a"), hex("/d/b"), hex("/d"));
        let text = format!(
            "7  openat(AT_FDCWD<{folder}>, \"{path}\", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 4<{path}>\n\
             7  lseek(4<{path}>, 8, SEEK_SET) = 8\n\
             7  write(4<{path}>, \"\\x41\\x42\\x43\", 3) = 2\n\
             8  write(4<{path}>, \"\\x44\", 1 <unfinished ...>\n\
             7  fsync(3<{folder}>) = 0\n\
             8  <... write resumed>) = 1\n\
             7  pwrite64(4<{path}>, \"\\x45\", 1, 100) = -1 ENOSPC (No space left on device)\n\
             7  fdatasync(4<{path}>) = 0\n\
             7  rename(\"{path}\", \"{other}\") = 0\n\
             7  write(1<pipe:[5]>, \"{}\", 11) = 11\n",
            hex("samples 20\n")
        );
        let trace = Trace::parse(&text, "/d", Vec::new()).unwrap();
        let write = |at, bytes: &[u8]| Op::Write { file: 0, at, bytes: bytes.into() };
        let expected = [
            Op::Entry(Entry::Create("a".into(), 0)),
            write(8, b"AB"),
            Op::SyncFolder,
            write(10, b"D"),
            Op::Sync { file: 0 },
            Op::Entry(Entry::Rename("a".into(), "b".into(), 0)),
            Op::Ack(Ack::Samples(20)),
        ];
        assert_eq!(trace.ops, expected);
        let unknown = format!("7  mkdirat(AT_FDCWD<{folder}>, \"{path}\", 0755) = 0\n");
        assert!(Trace::parse(&unknown, "/d", Vec::new()).is_err());
        let cut = format!("7  write(4<{path}>, \"\\x41\"..., 9) = 9\n");
        assert!(Trace::parse(&cut, "/d", vec![("a".into(), Arc::default())]).is_err());
    }
}
