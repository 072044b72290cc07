//! What needs a hand: every device that does not work and the way to headquarters, with since when, why and what to do.
//!
//! Contract
//! * One pulled cable is one line: devices with the same cause and the same advice are one trouble, whose beginning is that of
//!   the first of them. The list is bounded; what does not fit is counted.
//! * Times are kept on the monotonic clock and shown on the wall clock of the moment, so that a clock that is set later does
//!   not move the beginning of a trouble against the present.

use crate::config::HqSection;
use crate::devices::DeviceView;
use crate::settle::SettleState;
use drv_host::{Cause, HealthState};
use edge_api::Trouble;
use std::collections::BTreeMap;
use sync_model::DeviceId;

/// Troubles listed.
const TROUBLES_MAX: usize = 20;
/// Devices named in one trouble.
const NAMES_MAX: usize = 8;
/// Time that headquarters has beyond the longest repetition before its silence is a trouble.
const HQ_GRACE_MS: u64 = 5_000;

/// The present moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since boot.
    pub mono_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

impl Now {
    /// The wall time of a moment on the monotonic clock.
    #[must_use]
    pub fn wall(self, mono_ms: u64) -> i64 {
        let ago = i64::try_from(self.mono_ms.saturating_sub(mono_ms)).unwrap_or(i64::MAX);
        self.wall_ms.saturating_sub(ago)
    }
}

/// The list, and how many troubles did not fit.
#[must_use]
pub fn list(
    devices: &[(DeviceId, DeviceView)],
    settle: &SettleState,
    hq: Option<&HqSection>,
    now: Now,
) -> (Vec<Trouble>, u32) {
    let mut troubles: Vec<Trouble> = hq.and_then(|hq| headquarters(settle, hq, now)).into_iter().collect();
    let mut groups: BTreeMap<(Cause, &str), Group<'_>> = BTreeMap::new();
    for (id, view) in devices {
        let Some(cause) = view.cause.filter(|_| view.is_troubled()) else { continue };
        let since_ms = view.trouble_mono_ms.get().map(|mono| now.wall(mono.unsigned_abs()));
        let group = groups.entry((cause, &*view.advice)).or_insert_with(|| Group {
            cause,
            view,
            first: id,
            others: Vec::new(),
            count: 0,
            since_ms,
        });
        if group.count > 0 && group.others.len() + 1 < NAMES_MAX {
            group.others.push(id);
        }
        group.count += 1;
        group.since_ms = group.since_ms.into_iter().chain(since_ms).min();
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    // What broke last comes first: it is what somebody just did.
    groups.sort_by(|a, b| b.since_ms.cmp(&a.since_ms).then_with(|| a.first.cmp(b.first)));
    let more = (troubles.len() + groups.len()).saturating_sub(TROUBLES_MAX);
    let room = TROUBLES_MAX.saturating_sub(troubles.len());
    troubles.extend(groups.iter().take(room).map(Group::told));
    (troubles, u32::try_from(more).unwrap_or(u32::MAX))
}

/// Devices with the same trouble. Thousands of silent tags have one each, and only a few are told: so it has no text of its own.
struct Group<'d> {
    cause: Cause,
    /// Of the first one.
    view: &'d DeviceView,
    /// In name order.
    first: &'d DeviceId,
    others: Vec<&'d DeviceId>,
    count: u32,
    since_ms: Option<i64>,
}

impl Group<'_> {
    fn told(&self) -> Trouble {
        let view = self.view;
        Trouble {
            devices: std::iter::once(&self.first).chain(&self.others).map(ToString::to_string).collect(),
            count: self.count,
            class: view.class.name().to_owned(),
            state: view.word().to_owned(),
            since_ms: self.since_ms,
            cause: self.cause.name().to_owned(),
            reason: view.reason.to_string(),
            advice: view.advice.to_string(),
        }
    }
}

/// The way to headquarters.
fn headquarters(settle: &SettleState, hq: &HqSection, now: Now) -> Option<Trouble> {
    let trouble = |cause: &str, since_ms, reason, advice| Trouble {
        devices: vec!["headquarters".to_owned()],
        count: 1,
        class: "hq".to_owned(),
        state: "lost".to_owned(),
        since_ms,
        cause: cause.to_owned(),
        reason,
        advice,
    };
    let at = format!("{}:{}", hq.host, hq.port);
    if !settle.connected {
        let reason = settle.last_error.clone().unwrap_or_else(|| format!("no connection to {at} yet"));
        let advice = format!(
            "check the store's line and that the broker at {at} answers; the store goes on trading, its facts wait here"
        );
        return Some(trouble("broker-unreachable", settle.since_ms, reason, advice));
    }
    let limit = hq.linger_ms.saturating_add(hq.retry_max_ms.saturating_mul(2)).saturating_add(HQ_GRACE_MS);
    // Waiting counts from the first fact that waits, the last ack, or the connection, whichever came last.
    let since = settle
        .behind_ms?
        .max(settle.last_ack_ms.unwrap_or(i64::MIN))
        .max(settle.since_ms.unwrap_or(i64::MIN));
    let waited = u64::try_from(now.wall_ms.saturating_sub(since)).unwrap_or(0);
    (waited > limit).then(|| {
        let reason = format!("the broker is connected, no acknowledgement for {} s", waited / 1_000);
        let advice =
            "nothing to do in the store: its facts wait here; tell headquarters that it does not answer"
                .to_owned();
        trouble("hq-silent", Some(since), reason, advice)
    })
}

impl DeviceView {
    /// Not well, and not only just started.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        matches!(self.health, Some(HealthState::Degraded | HealthState::Lost | HealthState::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_model::DeviceClass;

    fn view(cause: Cause, advice: &str, trouble_mono_ms: u64) -> DeviceView {
        DeviceView {
            health: Some(HealthState::Failed),
            cause: Some(cause),
            advice: advice.into(),
            trouble_mono_ms: Some(trouble_mono_ms).into(),
            ..DeviceView::new(DeviceClass::Cabinet)
        }
    }

    fn id(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    fn hq() -> HqSection {
        toml::from_str("host = \"broker\"\nlinger_ms = 100\nretry_max_ms = 1000\n").unwrap()
    }

    const NOW: Now = Now { mono_ms: 100_000, wall_ms: 1_800_000_000_000 };

    #[test]
    fn one_cable_is_one_line_with_the_first_beginning() {
        let mut devices = vec![(id("scale-1"), view(Cause::Mute, "look at scale-1", 99_000))];
        for number in 0..10 {
            devices.push((
                id(&format!("cold-{number}")),
                view(Cause::PortMissing, "the bus cable", 90_000 + number),
            ));
        }
        devices.push((id("well"), DeviceView::new(DeviceClass::Tag)));
        devices.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (list, more) = list(&devices, &SettleState::default(), None, NOW);
        assert_eq!((list.len(), more), (2, 0));
        assert_eq!(
            (list[0].devices.as_slice(), list[0].since_ms),
            (["scale-1".to_owned()].as_slice(), Some(NOW.wall_ms - 1_000))
        );
        assert_eq!(
            (list[1].count, list[1].devices.len(), list[1].since_ms),
            (10, NAMES_MAX, Some(NOW.wall_ms - 10_000))
        );
        assert_eq!(list[1].cause, "port-missing");
    }

    #[test]
    fn many_troubles_are_counted() {
        let devices: Vec<_> =
            (0..50).map(|n| (id(&format!("d-{n}")), view(Cause::Mute, &format!("look at {n}"), n))).collect();
        let (list, more) = list(&devices, &SettleState::default(), None, NOW);
        assert_eq!((list.len(), more), (TROUBLES_MAX, 30));
    }

    #[test]
    fn a_broker_that_is_away_and_a_silent_hq_are_told_apart() {
        let mut settle =
            SettleState { since_ms: Some(5), last_error: Some("refused".into()), ..SettleState::default() };
        let (away, _) = list(&[], &settle, Some(&hq()), NOW);
        assert_eq!((away[0].cause.as_str(), away[0].reason.as_str()), ("broker-unreachable", "refused"));
        assert!(away[0].advice.contains("broker:1883"), "{}", away[0].advice);
        settle.connected = true;
        assert!(list(&[], &settle, Some(&hq()), NOW).0.is_empty(), "nothing waits");
        settle.behind_ms = Some(NOW.wall_ms - 7_100);
        assert!(list(&[], &settle, Some(&hq()), NOW).0.is_empty(), "still within its time");
        settle.behind_ms = Some(NOW.wall_ms - 7_200);
        assert_eq!(list(&[], &settle, Some(&hq()), NOW).0[0].cause, "hq-silent");
        settle.last_ack_ms = Some(NOW.wall_ms - 10);
        assert!(list(&[], &settle, Some(&hq()), NOW).0.is_empty(), "it answers");
        assert!(list(&[], &settle, None, NOW).0.is_empty(), "no HQ, no trouble with it");
    }
}
