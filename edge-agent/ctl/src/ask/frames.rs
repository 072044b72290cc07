//! Frames of a line: followed on the screen, or written to a file that the simulators can play.
//!
//! The daemon keeps the last frames of each device; they are asked for often enough that none is missed on a line that is
//! polled in the usual way, and a gap is written down where one was.

use super::{End, Ended, Session, segment, to_json};
use crate::exit::Exit;
use crate::screen::complain;
use crate::show;
use edge_api::{Answer, Frame, Frames};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two questions.
const PERIOD: Duration = Duration::from_millis(200);
/// Longest transcript in bytes: what the simulators read.
const TRANSCRIPT_BYTES_MAX: usize = 16 << 20;

impl Session {
    /// `edgectl device trace`.
    pub(super) async fn trace(&self, id: &str, seconds: Option<u64>) -> Ended {
        let mut first = None;
        self.follow(id, seconds, |answer| {
            if self.json {
                if !answer.frames.is_empty() {
                    self.line(&to_json(&Answer::new(answer.clone())))?;
                }
                return Ok(true);
            }
            if answer.missed > 0 {
                self.screen.put(&format!("{:>10}   {} frames missed\n", "", answer.missed))?;
            }
            for frame in &answer.frames {
                let begun = *first.get_or_insert(frame.mono_ms);
                self.screen.put(&show::frame(frame, begun, self.screen.color))?;
            }
            Ok(true)
        })
        .await
    }

    /// `edgectl device record`.
    pub(super) async fn record(&self, id: &str, seconds: u64, out: &Path) -> Ended {
        let fail = |error: std::io::Error| {
            complain(&format!("{}: {error}", out.display()));
            End::Exit(Exit::Error)
        };
        let mut file = std::fs::File::create_new(out).map_err(fail)?;
        let mut record = Transcript::default();
        self.follow(id, Some(seconds), |answer| {
            let text = record.take(answer);
            file.write_all(text.as_bytes()).map_err(fail)?;
            Ok(record.bytes < TRANSCRIPT_BYTES_MAX)
        })
        .await?;
        file.sync_all().map_err(fail)?;
        let text = format!(
            "{}: {} frames of {id}, {} missed{}\n",
            out.display(),
            record.frames,
            record.missed,
            if record.bytes >= TRANSCRIPT_BYTES_MAX {
                ", ended early: it is as long as it may be"
            } else {
                ""
            }
        );
        match self.json {
            true => {
                let value = serde_json::json!({
                    "file": out.display().to_string(), "device": id, "frames": record.frames, "missed": record.missed,
                });
                self.line(&value.to_string())?;
            }
            false => {
                self.screen.put(&crate::table::clean(text.trim_end())).and_then(|()| self.screen.put("\n"))?
            }
        }
        Ok(Exit::Ok)
    }

    /// Asks for frames until the time is over, Ctrl-C, or `each` has enough. The first answer has none.
    async fn follow(
        &self,
        id: &str,
        seconds: Option<u64>,
        mut each: impl FnMut(&Frames) -> Result<bool, End>,
    ) -> Ended {
        let path = format!("/v1/devices/{}/frames", segment(id));
        let begun = Instant::now();
        let limit = seconds.map(Duration::from_secs);
        let mut answer: Frames = self.client.fetch(&path).await?;
        answer.missed = 0;
        each(&answer)?;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Exit::Ok);
            }
            tokio::select! {
                _ = &mut interrupted => return Ok(Exit::Ok),
                () = tokio::time::sleep(left.unwrap_or(PERIOD).min(PERIOD)) => {}
            }
            answer = self.client.fetch(&format!("{path}?after={}", answer.next)).await?;
            if !each(&answer)? {
                return Ok(Exit::Ok);
            }
        }
    }
}

/// A transcript as it grows. Form: the header of `drv_sim::transcript`.
#[derive(Default)]
struct Transcript {
    begun: bool,
    first_ms: Option<u64>,
    bytes: usize,
    frames: u64,
    missed: u64,
}

impl Transcript {
    /// The text that an answer adds.
    fn take(&mut self, answer: &Frames) -> String {
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            let clean = crate::table::clean;
            text.push_str(&format!(
                "steelyard-transcript 1\ndevice {}\nconnection {}\nwire {}\nsoftware {}\n",
                clean(&answer.device),
                clean(&answer.connection),
                clean(&answer.wire),
                clean(&answer.software)
            ));
        }
        if answer.missed > 0 {
            self.missed = self.missed.saturating_add(answer.missed);
            text.push_str(&format!("missed {}\n", answer.missed));
        }
        for Frame { mono_ms, way, hex, .. } in &answer.frames {
            let first = *self.first_ms.get_or_insert(*mono_ms);
            text.push_str(&format!("{} {way} {hex}\n", mono_ms.saturating_sub(first)));
            self.frames += 1;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_begins_with_its_head_and_counts_from_its_first_frame() {
        let frame = |number, mono_ms, way: &str, hex: &str| Frame {
            number,
            mono_ms,
            way: way.into(),
            hex: hex.into(),
            text: String::new(),
        };
        let mut answer = Frames {
            device: "scale-2".into(),
            connection: "toledo-8217 /dev/x\n".into(),
            wire: "serial".into(),
            software: "0.1.0".into(),
            frames: vec![],
            next: 7,
            missed: 0,
        };
        let mut record = Transcript::default();
        let mut text = record.take(&answer);
        answer.frames = vec![frame(8, 5_000, ">", "57 0D"), frame(9, 5_012, "<", "02 3F 44 0D")];
        text += &record.take(&answer);
        let transcript = drv_sim::transcript::Transcript::parse(&text).unwrap();
        assert_eq!(transcript.wire, drv_sim::transcript::Wire::Serial);
        assert_eq!(transcript.get("device"), Some("scale-2"));
        assert_eq!(
            transcript.frames.iter().map(|f| (f.at_ms, f.bytes.len())).collect::<Vec<_>>(),
            [(0, 2), (12, 4)]
        );
        answer.missed = 3;
        text += &record.take(&answer);
        assert_eq!((record.frames, record.missed, record.bytes), (4, 3, text.len()));
        assert!(
            drv_sim::transcript::Transcript::parse(&text).is_err(),
            "a record with a gap cannot be played"
        );
    }
}
