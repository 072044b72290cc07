//! One command: what is asked, what is printed, how it ends.

mod frames;
mod preview;
mod shared;
mod tags;
mod telemetry;

use crate::args::{
    AlarmCommand, Arguments, BatchCommand, By, Command, ConflictCommand, DeviceCommand, EventCommand,
    LedgerCommand, SyncCommand,
};
use crate::exit::{Exit, as_body};
use crate::screen::{Screen, complain};
use crate::show;
use edge_api::{
    AckRequest, Alarms, Answer, BackupRequest, Batches, Client, ClientError, Conflicts, Devices,
    DiscardRequest, Done, Events, Named, Reply, ScaleOrder, ScaleOrderRequest, SettleRequest, ShelveRequest,
};
use edge_api::{Backup, DeviceDetail, Doctor, Status, Stock, Sync};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Events of one request of `--follow`: as many as the daemon gives at once.
const PAGE: usize = 500;
/// Pause between two looks of `watch` and `--follow`.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs a command to its exit code.
pub(crate) async fn run(arguments: &Arguments) -> Exit {
    let client = Client::new(arguments.socket(), arguments.timeout());
    let session = Session { client, screen: Screen::new(), json: arguments.json };
    match session.run(&arguments.command).await {
        Ok(exit) | Err(End::Exit(exit)) => exit,
        Err(End::Client(error)) => session.failed(&error),
    }
}

/// Why a command ends early.
enum End {
    /// With this code; everything is said.
    Exit(Exit),
    /// The daemon did not answer, or refused.
    Client(ClientError),
}

impl From<Exit> for End {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

type Ended = Result<Exit, End>;

struct Session {
    client: Client,
    screen: Screen,
    json: bool,
}

impl Session {
    async fn run(&self, command: &Command) -> Ended {
        let color = self.screen.color;
        match command {
            Command::Status => {
                let reply = self.client.get("/v1/status").await?;
                let status = self.print(&reply, |status: &Status| show::status(status, color))?;
                Ok(if status.state == "ok" { Exit::Ok } else { Exit::Degraded })
            }
            Command::Device(command) => self.device(command).await,
            Command::Telemetry(arguments) => self.telemetry(arguments).await,
            Command::Watch { count } => self.watch(*count).await,
            Command::Event(EventCommand::Tail { lines, follow }) => self.tail(*lines, *follow).await,
            Command::Stock { sku } => {
                let query = sku.map(|sku| format!("?sku={sku}")).unwrap_or_default();
                let reply = self.client.get(&format!("/v1/stock{query}")).await?;
                self.print(&reply, |stock: &Stock| show::stock(stock, color))?;
                Ok(Exit::Ok)
            }
            Command::Sync(SyncCommand::Status) => {
                let reply = self.client.get("/v1/sync").await?;
                self.print(&reply, |sync: &Sync| show::sync(sync, color))?;
                Ok(Exit::Ok)
            }
            Command::Ledger(command) => self.ledger(command).await,
            Command::Alarm(command) => self.alarm(command).await,
            Command::Override(command) => self.overrides(command).await,
            Command::Registry(command) => self.registry(command).await,
            Command::Rights(command) => self.rights(command).await,
            Command::Statement(command) => self.statement(command).await,
            Command::Conflict(ConflictCommand::Settle { id, by }) => {
                let path = format!("/v1/conflicts/{}/settle", segment(id));
                self.order(&path, &SettleRequest { by: by.name() }, &format!("{id} settled")).await
            }
            Command::Conflict(ConflictCommand::List { all }) => {
                let query = if *all { "?all=true" } else { "" };
                let reply = self.client.get(&format!("/v1/conflicts{query}")).await?;
                self.print(&reply, |conflicts: &Conflicts| show::conflicts(conflicts, color))?;
                Ok(Exit::Ok)
            }
            Command::Batch(command) => self.batch(command).await,
            Command::Tag(command) => self.tags(command).await,
            Command::Doctor => {
                let reply = self.client.get("/v1/doctor").await?;
                let doctor = self.print(&reply, |doctor: &Doctor| show::doctor(doctor, color))?;
                let failed = doctor.checks.iter().any(|check| check.state == "fail");
                Ok(if failed { Exit::Degraded } else { Exit::Ok })
            }
            Command::Reload => self.order("/v1/reload", &Empty {}, "configuration read again").await,
            // Not a question to the daemon: carried out by `update.rs` before there is a session.
            Command::Update(_) => Ok(Exit::Ok),
        }
    }

    async fn device(&self, command: &DeviceCommand) -> Ended {
        let color = self.screen.color;
        match command {
            DeviceCommand::List { class, bad } => {
                let reply = self.client.get("/v1/devices").await?;
                let wanted = |device: &edge_api::Device| {
                    class.as_ref().is_none_or(|class| *class == device.class)
                        && !(*bad && device.state == "ok")
                };
                if self.json && (class.is_some() || *bad) {
                    let mut devices: Devices = reply.parse()?;
                    devices.devices.retain(wanted);
                    self.line(&to_json(&Answer::new(devices)))?;
                } else {
                    self.print(&reply, |devices: &Devices| {
                        show::devices(devices.devices.iter().filter(|d| wanted(d)), color)
                    })?;
                }
            }
            DeviceCommand::Show { id } => {
                let reply = self.client.get(&format!("/v1/devices/{}", segment(id))).await?;
                self.print(&reply, |detail: &DeviceDetail| show::device(detail, color))?;
            }
            DeviceCommand::Zero { id, by } => return self.scale(id, ScaleOrder::Zero, None, by).await,
            DeviceCommand::Tare { id, grams: Some(0), by } => {
                return self.scale(id, ScaleOrder::ClearTare, None, by).await;
            }
            DeviceCommand::Tare { id, grams, by } => {
                return self.scale(id, ScaleOrder::Tare, *grams, by).await;
            }
            DeviceCommand::Probe { id } => {
                let reply =
                    self.client.post(&format!("/v1/devices/{}/probe", segment(id)), &Empty {}, None).await?;
                self.print(&reply, |probe: &edge_api::DeviceProbe| show::probe(probe, color))?;
            }
            DeviceCommand::Trace { id, seconds } => return self.trace(id, *seconds).await,
            DeviceCommand::Record { id, seconds, out } => return self.record(id, *seconds, out).await,
        }
        Ok(Exit::Ok)
    }

    /// An order for a scale; what it said is the daemon's text.
    async fn scale(&self, id: &str, order: ScaleOrder, tare_g: Option<i64>, by: &By) -> Ended {
        let body = ScaleOrderRequest { by: by.name(), order, tare_g };
        let reply = self.client.post(&format!("/v1/devices/{}/scale", segment(id)), &body, None).await?;
        self.print(&reply, |done: &Done| format!("{}\n", crate::table::clean(&done.text)))?;
        Ok(Exit::Ok)
    }

    async fn ledger(&self, command: &LedgerCommand) -> Ended {
        match command {
            LedgerCommand::Verify => {
                let reply = self.client.post("/v1/ledger/verify", &Empty {}, None).await?;
                let verify = self.print(&reply, show::verify)?;
                Ok(if verify.ok { Exit::Ok } else { Exit::Error })
            }
            LedgerCommand::Backup { path } => {
                let reply =
                    self.client.post("/v1/backup", &BackupRequest { path: path.clone() }, None).await?;
                self.print(&reply, |backup: &Backup| {
                    format!("{}: {}\n", backup.path, crate::text::bytes(backup.bytes))
                })?;
                Ok(Exit::Ok)
            }
        }
    }

    async fn alarm(&self, command: &AlarmCommand) -> Ended {
        match command {
            AlarmCommand::List { all } => {
                let query = if *all { "?all=true" } else { "" };
                let reply = self.client.get(&format!("/v1/alarms{query}")).await?;
                self.print(&reply, |alarms: &Alarms| show::alarms(alarms, self.screen.color))?;
                Ok(Exit::Ok)
            }
            AlarmCommand::Ack { id, by } => {
                let path = format!("/v1/alarms/{}/ack", segment(id));
                self.order(&path, &AckRequest { by: by.name() }, &format!("{id} acknowledged")).await
            }
            AlarmCommand::Shelve { id, minutes, by } => {
                let path = format!("/v1/alarms/{}/shelve", segment(id));
                let body = ShelveRequest { by: by.name(), minutes: *minutes };
                self.order(&path, &body, &format!("{id} shelved for {minutes} min")).await
            }
        }
    }

    async fn batch(&self, command: &BatchCommand) -> Ended {
        match command {
            BatchCommand::List => {
                let reply = self.client.get("/v1/batches").await?;
                self.print(&reply, |batches: &Batches| show::batches(batches, self.screen.color))?;
                Ok(Exit::Ok)
            }
            BatchCommand::Discard { id, by } => {
                let path = format!("/v1/batches/{}/discard", segment(id));
                self.order(&path, &DiscardRequest { by: by.name() }, &format!("{id} discarded")).await
            }
        }
    }

    /// An order whose answer has nothing to show but that it was done.
    async fn order(&self, path: &str, body: &impl serde::Serialize, done: &str) -> Ended {
        let reply = self.client.post(path, body, None).await?;
        match self.json {
            true => self.line(&reply.text)?,
            false => self.line(&crate::table::clean(done))?,
        }
        Ok(Exit::Ok)
    }

    async fn tail(&self, lines: u32, follow: bool) -> Ended {
        let mut path = format!("/v1/events?limit={lines}");
        loop {
            let reply = self.client.get(&path).await?;
            let events: Events = reply.parse()?;
            if !events.events.is_empty() || !follow {
                match self.json {
                    true => self.line(&reply.text)?,
                    false => self.screen.put(&show::events(&events))?,
                }
            }
            if !follow {
                return Ok(Exit::Ok);
            }
            // An empty log has no place to go on from: its first events are asked for again.
            if let Some(next) = &events.next {
                path = format!("/v1/events?after={}&limit={PAGE}", segment(next));
            }
            // A full page means more is waiting.
            if events.events.len() < PAGE {
                tokio::time::sleep(PERIOD).await;
            }
        }
    }

    /// Redraws until Ctrl-C; a daemon that is away is shown as such and awaited.
    async fn watch(&self, count: Option<u64>) -> Ended {
        let mut drawn = 0_u64;
        loop {
            let (text, exit) = match self.look().await {
                Ok(text) => (text, Exit::Ok),
                Err(End::Client(error)) => {
                    let text = match self.json {
                        true => to_json(&Answer::new(as_body(&error))) + "\n",
                        false => format!("{error}\nwaiting for it …\n"),
                    };
                    (text, Exit::of(&error))
                }
                Err(End::Exit(exit)) => return Ok(exit),
            };
            let clear = if self.screen.terminal && !self.json { "\u{1b}[H\u{1b}[2J" } else { "" };
            self.screen.put(&format!("{clear}{text}"))?;
            drawn += 1;
            if count.is_some_and(|count| drawn >= count) {
                return Ok(exit);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// One look of `watch`.
    async fn look(&self) -> Result<String, End> {
        let reply = self.client.get("/v1/status").await?;
        if self.json {
            return Ok(one_line(&reply.text));
        }
        let status: Status = reply.parse()?;
        let devices: Devices = self.client.fetch("/v1/devices").await?;
        let alarms: Alarms = self.client.fetch("/v1/alarms").await?;
        let color = self.screen.color;
        let troubled = devices.devices.iter().filter(|device| device.state != "ok").take(20);
        Ok(format!(
            "{}\n{}\n{}",
            show::status(&status, color),
            show::alarms(&alarms, color),
            show::troubles(troubled, color)
        ))
    }

    /// Prints an answer as JSON or as a table.
    fn print<T: Named + DeserializeOwned>(
        &self,
        reply: &Reply,
        draw: impl Fn(&T) -> String,
    ) -> Result<T, End> {
        let body: T = reply.parse()?;
        match self.json {
            true => self.line(&reply.text)?,
            false => self.screen.put(&draw(&body))?,
        }
        Ok(body)
    }

    /// Prints one line.
    fn line(&self, text: &str) -> Result<(), End> {
        Ok(self.screen.put(&one_line(text))?)
    }

    /// Says why there is no answer.
    fn failed(&self, error: &ClientError) -> Exit {
        if self.json {
            if let Err(exit) = self.screen.put(&one_line(&to_json(&Answer::new(as_body(error))))) {
                return exit;
            }
        } else {
            complain(&error.to_string());
            if let ClientError::Refused { error, .. } = error
                && let Some(field) = &error.field
            {
                complain(&format!("field: {field}"));
            }
            if matches!(error, ClientError::NotRunning { .. }) {
                complain("start it with: systemctl start edge-agent; or name its socket with --socket");
            }
        }
        Exit::of(error)
    }
}

/// A request without fields.
#[derive(serde::Serialize)]
struct Empty {}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("answers have string keys and finite numbers")
}

/// One object, one line: JSON texts have no line breaks inside strings, so those outside can go.
fn one_line(text: &str) -> String {
    let line: Vec<&str> = text.lines().map(str::trim).collect();
    line.concat() + "\n"
}

/// A path segment of what a person typed.
fn segment(text: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let one = |byte: u8| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_one_segment() {
        assert_eq!(segment("cabinet-7"), "cabinet-7");
        assert_eq!(segment("../status?x y"), "..%2Fstatus%3Fx%20y");
    }
}
