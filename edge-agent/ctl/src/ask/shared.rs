//! What the store shares with HQ: overrides, the device registry, rights, statements.

use super::{Empty, Ended, Session, segment};
use crate::args::{OverrideCommand, RegistryCommand, RightsCommand, StatementCommand};
use crate::exit::Exit;
use crate::screen::complain;
use crate::show;
use edge_api::{
    DeviceRegistry, OverrideRequest, OverrideValue, Overrides, RegistryRequest, Rights, RightsReturnRequest,
    StatementDetail, Statements,
};

impl Session {
    pub(super) async fn overrides(&self, command: &OverrideCommand) -> Ended {
        let (name, value, by) = match command {
            OverrideCommand::List => {
                let reply = self.client.get("/v1/overrides").await?;
                self.print(&reply, |rows: &Overrides| show::overrides(rows, self.screen.color))?;
                return Ok(Exit::Ok);
            }
            OverrideCommand::Set { name, value, by } => {
                // A note may be a number; a threshold may not be words, which the daemon says.
                let number = value.parse().ok().filter(|_| !name.starts_with("note/"));
                (name, number.map_or_else(|| OverrideValue::Note(value.clone()), OverrideValue::Number), by)
            }
            OverrideCommand::Clear { name, by } => (name, OverrideValue::Cleared, by),
        };
        let body = OverrideRequest { name: name.clone(), value, by: by.name() };
        self.order("/v1/overrides", &body, &format!("{name} is in force")).await
    }

    pub(super) async fn registry(&self, command: &RegistryCommand) -> Ended {
        let (body, done) = match command {
            RegistryCommand::List => {
                let reply = self.client.get("/v1/registry").await?;
                self.print(&reply, |rows: &DeviceRegistry| show::registry(rows, self.screen.color))?;
                return Ok(Exit::Ok);
            }
            RegistryCommand::Set { device, class, label } => {
                let (device, class, label) = (device.clone(), class.clone(), label.clone());
                let done = format!("{device} is listed");
                (RegistryRequest::Set { device, class, label }, done)
            }
            RegistryCommand::Remove { device } => (
                RegistryRequest::Remove { device: device.clone() },
                format!("{device} is not listed any more"),
            ),
        };
        self.order("/v1/registry", &body, &done).await
    }

    pub(super) async fn rights(&self, command: &RightsCommand) -> Ended {
        match command {
            RightsCommand::List { sku } => {
                let query = sku.map(|sku| format!("?sku={sku}")).unwrap_or_default();
                let reply = self.client.get(&format!("/v1/rights{query}")).await?;
                self.print(&reply, |rows: &Rights| show::rights(rows, self.screen.color))?;
            }
            RightsCommand::Return { sku, quantity_milli } => {
                let body = RightsReturnRequest { sku: *sku, quantity_milli: *quantity_milli };
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let key = format!("edgectl-{}-{}", std::process::id(), now.as_nanos());
                let reply = self.client.post("/v1/rights/return", &body, Some(&key)).await?;
                match self.json {
                    true => self.line(&reply.text)?,
                    false => self.line(&format!("rights to {quantity_milli} of article {sku} returned"))?,
                }
            }
        }
        Ok(Exit::Ok)
    }

    pub(super) async fn statement(&self, command: &StatementCommand) -> Ended {
        match command {
            StatementCommand::List => {
                let reply = self.client.get("/v1/statements").await?;
                let list =
                    self.print(&reply, |rows: &Statements| show::statements(rows, self.screen.color))?;
                let disputed = list.statements.iter().any(|row| row.state == "disputed");
                Ok(if disputed { Exit::Degraded } else { Exit::Ok })
            }
            StatementCommand::Show { day, file } => {
                let query = if file.is_some() { "?files=true" } else { "" };
                let reply = self.client.get(&format!("/v1/statements/{}{query}", segment(day))).await?;
                let detail = self
                    .print(&reply, |detail: &StatementDetail| show::statement(detail, self.screen.color))?;
                match file {
                    Some(file) => self.save(&detail, file),
                    None => Ok(if detail.brief.state == "disputed" { Exit::Degraded } else { Exit::Ok }),
                }
            }
            StatementCommand::Sign { day } => {
                let path = format!("/v1/statements/{}/sign", segment(day));
                self.order(&path, &Empty {}, &format!("statement of {day} signed")).await
            }
        }
    }

    /// Writes the files that a statement comes with.
    fn save(&self, detail: &StatementDetail, file: &std::path::Path) -> Ended {
        let Some(statement) = &detail.file_hex else {
            complain(&format!("the statement of {} is not signed: nothing to write", detail.brief.day));
            return Ok(Exit::NotFound);
        };
        let beside = |suffix: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            std::path::PathBuf::from(name)
        };
        let files = [
            (file.to_owned(), Some(statement)),
            (beside(".proof"), detail.proof_hex.as_ref()),
            (beside(".root"), detail.root_hex.as_ref()),
        ];
        for (path, hex) in files {
            let Some(hex) = hex else { continue };
            let written = from_hex(hex)
                .ok_or_else(|| std::io::Error::other("the daemon's answer is not hexadecimal"))
                .and_then(|bytes| std::fs::write(&path, bytes));
            if let Err(error) = written {
                complain(&format!("{}: {error}", path.display()));
                return Ok(Exit::Error);
            }
            if !self.json {
                self.line(&crate::table::clean(&format!("wrote {}", path.display())))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// Bytes of hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
