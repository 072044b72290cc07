//! The faults of the day: what is cut and killed, when, and proof that it hurt.
//!
//! The plan is drawn from the seed; the moments shift with it, the faults do not: each day has every one of them.

use crate::programs::Programs;
use crate::random::Random;
use crate::tills::{Hours, Shop};
use anyhow::Result;
use hil_rig::proxy::Mode;
use hil_rig::until;
use std::time::{Duration, Instant};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL of the agent while tills wait for answers.
    KillAgent,
    /// The network ends.
    Cut,
    /// The network goes silent without ending.
    Stall,
    /// The network is there again.
    Heal,
    /// SIGKILL of the broker.
    KillBroker,
    /// The broker is started.
    StartBroker,
    /// SIGKILL of HQ.
    KillHq,
    /// HQ is started.
    StartHq,
}

/// The plan of a day: time after opening and what happens then, in order of time.
pub(crate) fn plan(random: &mut Random) -> Vec<(Duration, Fault)> {
    let base = [
        (8, Fault::KillAgent),
        (16, Fault::Cut),
        (26, Fault::KillAgent),
        (38, Fault::Heal),
        (45, Fault::KillBroker),
        (50, Fault::StartBroker),
        (56, Fault::KillHq),
        (59, Fault::KillAgent),
        (65, Fault::StartHq),
        (71, Fault::Stall),
        (78, Fault::Heal),
        (83, Fault::KillAgent),
    ];
    // Up to 1.5 s to either side keeps the order, because neighbors are at least 3 s apart.
    base.into_iter().map(|(second, fault)| (shift(second, random), fault)).collect()
}

fn shift(second: i64, random: &mut Random) -> Duration {
    let millis = second * 1000 + random.signed(-1400, 1400);
    Duration::from_millis(millis.unsigned_abs())
}

/// What the faults did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    /// Kills of the agent with requests in flight.
    pub(crate) kills: u32,
    /// Requests that waited at those kills.
    pub(crate) in_flight: usize,
    /// Time without a working way to HQ.
    pub(crate) offline: Duration,
    since: Option<Instant>,
    down: u32,
}

impl Damage {
    /// One more reason why HQ cannot be reached.
    fn broke(&mut self) {
        self.down += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    /// One reason less.
    fn mended(&mut self) {
        self.down = self.down.saturating_sub(1);
        if self.down == 0
            && let Some(since) = self.since.take()
        {
            self.offline += since.elapsed();
        }
    }
}

/// Does one fault.
pub(crate) async fn inflict(
    fault: Fault,
    programs: &mut Programs,
    shop: &Shop,
    random: &mut Random,
    damage: &mut Damage,
) -> Result<()> {
    let counter = &shop.counter;
    match fault {
        Fault::KillAgent => {
            // Everybody pays at once, so that the kill meets several tickets.
            shop.hours.send_replace(Hours::Rush);
            tokio::time::sleep(random.millis(50, 400)).await;
            let waiting = || async { counter.waiting() >= 2 };
            until("tills that wait for their answers", Duration::from_secs(30), waiting).await?;
            let in_flight = counter.waiting();
            programs.kill_agent()?;
            shop.hours.send_replace(Hours::Open);
            damage.kills += 1;
            damage.in_flight += in_flight;
            // The tills stand before a dead counter for a moment.
            tokio::time::sleep(random.millis(200, 1500)).await;
            programs.start_agent().await?;
        }
        Fault::Cut => {
            programs.link.set(Mode::Cut);
            damage.broke();
        }
        Fault::Stall => {
            programs.link.set(Mode::Stall);
            damage.broke();
        }
        Fault::Heal => {
            programs.link.set(Mode::Pass);
            damage.mended();
        }
        Fault::KillBroker => {
            programs.broker.kill()?;
            damage.broke();
        }
        Fault::StartBroker => {
            programs.broker.restart().await?;
            damage.mended();
        }
        Fault::KillHq => {
            programs.kill_hq()?;
            damage.broke();
        }
        Fault::StartHq => {
            programs.start_hq().await?;
            damage.mended();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_every_fault_in_an_order_that_makes_sense() {
        for seed in 0..200 {
            let plan = plan(&mut Random::new(seed, 0));
            assert!(plan.windows(2).all(|pair| pair[0].0 < pair[1].0), "seed {seed}: {plan:?}");
            let kills = plan.iter().filter(|(_, fault)| *fault == Fault::KillAgent).count();
            assert!(kills >= 3, "seed {seed} kills the agent {kills} times");
            for fault in [Fault::Cut, Fault::KillBroker, Fault::StartBroker, Fault::KillHq, Fault::StartHq] {
                assert!(plan.iter().any(|(_, planned)| *planned == fault), "seed {seed} has no {fault:?}");
            }
        }
    }

    #[test]
    fn overlapping_outages_count_once() {
        let mut damage = Damage::default();
        damage.broke();
        damage.broke();
        damage.mended();
        assert_eq!(damage.offline, Duration::ZERO);
        damage.mended();
        assert!(damage.offline > Duration::ZERO && damage.since.is_none());
    }
}
