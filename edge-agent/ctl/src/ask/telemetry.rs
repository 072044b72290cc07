//! Raw samples: as a table, as CSV, or as the daemon's JSON, page by page.

use super::{Ended, Session, one_line, segment};
use crate::args::TelemetryArguments;
use crate::exit::Exit;
use crate::screen::complain;
use crate::show;
use edge_api::Samples;

impl Session {
    pub(super) async fn telemetry(&self, arguments: &TelemetryArguments) -> Ended {
        let TelemetryArguments { mut from, to, every, .. } = *arguments;
        let device = segment(&arguments.device);
        let mut first = true;
        loop {
            let mut path = format!("/v1/samples/{device}?metric={}&from={from}&to={to}", arguments.metric);
            if let Some(every) = every {
                path.push_str(&format!("&every={every}"));
            }
            let reply = self.client.get(&path).await?;
            let samples: Samples = reply.parse()?;
            let text = match (self.json, arguments.csv) {
                (true, _) => one_line(&reply.text),
                (false, true) => show::samples_csv(&samples, first),
                (false, false) => show::samples(&samples, self.screen.color),
            };
            self.screen.put(&text)?;
            samples.damaged.iter().for_each(|damage| complain(&format!("missing, damaged: {damage}")));
            match samples.next_ms {
                Some(next) if next > from => from = next,
                _ => return Ok(Exit::Ok),
            }
            first = false;
        }
    }
}
