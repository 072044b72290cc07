//! Scales as hosts see them: the 8217 byte by byte, and every protocol through its own host side.

use drv_protocol::scale::{Answer, Order, Refusal, ScaleError, ScaleProtocol, Step, Weight};
use drv_protocol::scales::{self, Reading, Settings};
use drv_protocol::toledo8217::{Decoder, DecoderConfig, FrameError, Parity, Reply};

use super::*;

fn decoded(sim: &mut ScaleSim, command: &[u8], now: u64) -> Vec<Result<Reply, FrameError>> {
    let mut decoder = Decoder::new(DecoderConfig { parity: Parity::VerifyEven, ..DecoderConfig::default() });
    decoder.feed(&sim.receive(command, now))
}

fn usable(replies: &[Result<Reply, FrameError>]) -> Vec<i64> {
    let weight = |reply: &Reply| reply.weight().and_then(|weight| weight.usable());
    replies.iter().flatten().filter_map(weight).map(|grams| grams.0).collect()
}

#[test]
fn a_load_is_in_motion_then_stable_then_gone() {
    let mut sim = ScaleSim::new(ScaleConfig::default());
    assert_eq!(usable(&decoded(&mut sim, b"W", 0)), [0]);
    sim.place(Grams(1252), 1_000);
    let [Ok(Reply::Status(status))] = decoded(&mut sim, b"W", 1_200)[..] else { unreachable!("a status") };
    assert!(status.motion);
    assert!(!sim.load_shown());
    assert_eq!(usable(&decoded(&mut sim, b"W", 1_400)), [1250]);
    assert_eq!(usable(&decoded(&mut sim, b"W", 1_600)), [1250]);
    assert!(sim.load_shown());
    sim.remove(2_000);
    assert_eq!(usable(&decoded(&mut sim, b"W", 2_400)), [0]);
    let counters = sim.counters();
    assert_eq!((counters.placed, counters.shown, counters.shown_g, counters.polls), (1, 1, 1250, 5));
}

#[test]
fn tare_zero_and_over_capacity_answer_as_the_manual_says() {
    let mut sim = ScaleSim::new(ScaleConfig { parity: false, ..ScaleConfig::default() });
    sim.place(Grams(500), 0);
    assert!(sim.receive(b"T", 1_000).is_empty());
    assert_eq!(sim.poll(1_200), [0x02, b'?', 0x60, 0x0D]);
    sim.place(Grams(1_500), 2_000);
    assert_eq!(sim.receive(b"W", 3_000), b"\x0201.000N\r");
    assert_eq!(sim.receive(b"C", 3_000).first(), Some(&0x02));
    assert_eq!(sim.receive(b"TW", 3_000), b"\x02?\x60\r\x0200.000N\r");
    assert_eq!(sim.receive(b"T00250\r", 3_000), [0x02, b'?', 0x60, 0x0D]);
    assert_eq!(sim.receive(b"W", 3_000), b"\x0201.250N\r");
    sim.place(Grams(20_000), 4_000);
    assert_eq!(sim.receive(b"W", 5_000), [0x02, b'?', 0x62, 0x0D]);
    assert_eq!(sim.receive(b"Ehello", 5_000), b"\x02E\rhello");
}

#[test]
fn every_fault_damages_and_is_counted_and_none_shows_a_load() {
    let all = [
        ScaleFaults { mute: true, ..ScaleFaults::default() },
        ScaleFaults { endless: true, ..ScaleFaults::default() },
        ScaleFaults { garbage_permille: 1000, ..ScaleFaults::default() },
        ScaleFaults { truncated_permille: 1000, ..ScaleFaults::default() },
        ScaleFaults { wrong_parity_permille: 1000, ..ScaleFaults::default() },
    ];
    for faults in all {
        let mut sim = ScaleSim::new(ScaleConfig::default());
        sim.set_faults(faults);
        sim.place(Grams(700), 0);
        assert_eq!(usable(&decoded(&mut sim, b"W", 1_000)), [], "{faults:?}");
        assert_eq!((sim.counters().faults, sim.counters().shown), (1, 0), "{faults:?}");
    }
    let mut sim = ScaleSim::new(ScaleConfig::default());
    sim.set_faults(ScaleFaults { always_moving: true, ..ScaleFaults::default() });
    let [Ok(Reply::Status(status))] = decoded(&mut sim, b"W", 9_000)[..] else { unreachable!("a status") };
    assert!(status.motion);
}

/// A host and its scale without a wire between them.
struct Bench {
    host: Box<dyn ScaleProtocol + Send>,
    sim: ScaleSim,
    kind: ScaleKind,
    now: u64,
}

impl Bench {
    fn new(config: ScaleConfig) -> Self {
        let unit = matches!(config.kind, ScaleKind::Cas10 | ScaleKind::Xk3190A23).then_some(config.unit);
        let sent = config.sends || !config.kind.readings().0;
        let settings = Settings {
            unit,
            reading: Some(if sent { Reading::Sent } else { Reading::Asked }),
            checksum_polynomial: config.checksum_polynomial,
            ..Settings::default()
        };
        let host = scales::open(config.kind, &settings).unwrap();
        Self { host, sim: ScaleSim::new(config), kind: config.kind, now: 1_000 }
    }

    /// An order to its end: the answer, or every error until the scale had five seconds.
    fn order(&mut self, order: Order) -> Result<Answer, Vec<ScaleError>> {
        let request = self.host.begin(order).unwrap();
        let mut bytes = self.sim.receive(&request.bytes, self.now);
        if !request.answered {
            return Ok(Answer::Accepted { tare: None });
        }
        let mut errors = Vec::new();
        for _ in 0..500 {
            let steps = self.host.feed(&std::mem::take(&mut bytes));
            for step in steps {
                match step {
                    Ok(Step::Send(next)) => bytes.extend(self.sim.receive(&next, self.now)),
                    Ok(Step::Answer { answer: Answer::Weight(_), .. }) if order != Order::Weight => {}
                    Ok(Step::Answer { answer, frame, send }) => {
                        assert!(!frame.is_empty(), "{:?}: evidence", self.kind);
                        self.sim.receive(&send, self.now);
                        return Ok(answer);
                    }
                    Ok(Step::Heard) => {}
                    Err(error) => errors.push(error),
                }
            }
            self.now += 10;
            bytes.extend(self.sim.poll(self.now));
        }
        self.host.reset();
        Err(errors)
    }

    fn weight(&mut self) -> Weight {
        match self.order(Order::Weight) {
            Ok(Answer::Weight(weight)) => weight,
            other => panic!("{:?}: {other:?}", self.kind),
        }
    }

    fn place(&mut self, grams: i64) {
        self.sim.place(Grams(grams), self.now);
    }

    /// Lets everything sent so far go by and the platform come to rest.
    fn settle(&mut self) {
        self.now += 1_000;
        let old = self.sim.poll(self.now);
        self.host.feed(&old);
    }
}

/// Every protocol in every way of reading that it has.
fn configs() -> Vec<ScaleConfig> {
    let with = |kind: ScaleKind| {
        let (asked, sent) = kind.readings();
        let config = ScaleConfig { kind, ..ScaleConfig::default() };
        [(asked, false), (sent, true)]
            .into_iter()
            .filter(|way| way.0)
            .map(move |(_, sends)| ScaleConfig { sends, ..config })
    };
    ScaleKind::ALL.into_iter().flat_map(with).collect()
}

const fn says_stable(kind: ScaleKind) -> bool {
    !matches!(kind, ScaleKind::Cas10 | ScaleKind::Xk3190A23)
}

#[test]
fn every_protocol_carries_motion_rest_overload_and_the_empty_platform() {
    for config in configs() {
        let mut bench = Bench::new(config);
        let kind = bench.kind;
        assert_eq!(bench.weight().stable_zero(), says_stable(kind), "{config:?}");
        bench.place(1_252);
        let moving = bench.weight();
        assert_eq!((moving.stable, moving.usable()), (false, None), "{kind:?}: {moving:?}");
        bench.settle();
        let rest = bench.weight();
        assert_eq!(rest.usable(), says_stable(kind).then_some(Grams(1250)), "{kind:?}: {rest:?}");
        assert_eq!(rest.gross_or_net, Some(Grams(1250)), "{kind:?}");
        assert_eq!(bench.sim.load_shown(), says_stable(kind), "{kind:?}");
        bench.place(20_000);
        bench.settle();
        assert_eq!(bench.weight().usable(), None, "{kind:?}");
        bench.sim.remove(bench.now);
        bench.settle();
        assert_eq!(bench.weight().stable_zero(), says_stable(kind), "{kind:?}");
    }
}

#[test]
fn orders_reach_the_platform_where_the_protocol_has_them() {
    for config in configs() {
        let mut bench = Bench::new(config);
        let kind = bench.kind;
        if bench.host.begin(Order::Tare).is_ok() {
            bench.place(500);
            bench.settle();
            assert!(matches!(bench.order(Order::Tare), Ok(Answer::Accepted { .. })), "{kind:?}");
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(0)), "{kind:?}");
            bench.place(1_500);
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(1_000)), "{kind:?}");
        }
        if bench.host.begin(Order::KeyedTare(Grams(250))).is_ok() {
            assert!(
                matches!(bench.order(Order::KeyedTare(Grams(250))), Ok(Answer::Accepted { .. })),
                "{kind:?}"
            );
            bench.place(1_500);
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(1_250)), "{kind:?}");
            assert!(matches!(bench.order(Order::ClearTare), Ok(Answer::Accepted { .. })), "{kind:?}");
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(1_500)), "{kind:?}");
        }
        let mut bench = Bench::new(config);
        if bench.host.begin(Order::Zero).is_ok() {
            bench.place(20);
            bench.settle();
            assert!(matches!(bench.order(Order::Zero), Ok(Answer::Accepted { .. })), "{kind:?}");
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(0)), "{kind:?}");
            bench.place(5_000);
            bench.settle();
            let refused = bench.order(Order::Zero);
            let silent = kind == ScaleKind::Os2x;
            assert!(silent || matches!(refused, Ok(Answer::Refused(_))), "{kind:?}: {refused:?}");
            bench.settle();
            assert_eq!(bench.weight().usable(), Some(Grams(4_980)), "{kind:?}");
        }
    }
}

#[test]
fn damaged_answers_never_become_another_weight() {
    for config in configs() {
        let checksum = matches!(
            config.kind,
            ScaleKind::EnqDc1 | ScaleKind::Os2x | ScaleKind::Tisa | ScaleKind::Xk3190A23
        );
        for faults in [
            ScaleFaults { truncated_permille: 400, ..ScaleFaults::default() },
            ScaleFaults { garbage_permille: 300, ..ScaleFaults::default() },
            ScaleFaults { wrong_checksum_permille: 700, ..ScaleFaults::default() },
            ScaleFaults { endless: true, ..ScaleFaults::default() },
        ] {
            let mut bench = Bench::new(ScaleConfig { seed: 7, ..config });
            bench.place(1_250);
            bench.settle();
            bench.sim.set_faults(faults);
            let mut damaged = 0;
            for _ in 0..40 {
                match bench.order(Order::Weight) {
                    Ok(Answer::Weight(weight)) => {
                        let whole = [None, Some(Grams(1_250))].contains(&weight.gross_or_net);
                        assert!(whole, "{:?} {faults:?}: {weight:?}", config.kind);
                    }
                    Ok(_) => {}
                    Err(_) => damaged += 1,
                }
            }
            let hit = faults.wrong_checksum_permille == 0 || checksum;
            assert_eq!(bench.sim.counters().faults > 0, hit, "{:?} {faults:?}", config.kind);
            assert!(damaged > 0 || !faults.endless, "{:?}", config.kind);
            bench.sim.set_faults(ScaleFaults::default());
            bench.settle();
            assert_eq!(bench.weight().gross_or_net, Some(Grams(1_250)), "{:?} heals", config.kind);
        }
    }
}

#[test]
fn stuck_moving_overloaded_slow_mute_and_restarted_scales_are_what_they_say() {
    for config in configs() {
        let kind = config.kind;
        let mut bench = Bench::new(config);
        bench.place(1_000);
        bench.settle();
        bench.sim.set_faults(ScaleFaults { stuck: true, ..ScaleFaults::default() });
        bench.place(2_000);
        bench.settle();
        assert_eq!(bench.weight().gross_or_net, Some(Grams(1_000)), "{kind:?}");
        bench.sim.set_faults(ScaleFaults { always_moving: true, ..ScaleFaults::default() });
        bench.settle();
        assert!(!bench.weight().stable, "{kind:?}");
        bench.sim.set_faults(ScaleFaults { overload: true, ..ScaleFaults::default() });
        bench.settle();
        assert_eq!(bench.weight().usable(), None, "{kind:?}");
        bench.sim.set_faults(ScaleFaults { slow_ms: 300, ..ScaleFaults::default() });
        bench.settle();
        let begun = bench.now;
        assert_eq!(bench.weight().gross_or_net, Some(Grams(2_000)), "{kind:?}");
        assert!(config.sends || bench.host.streams() || bench.now >= begun + 300, "{kind:?}");
        bench.sim.set_faults(ScaleFaults { mute: true, ..ScaleFaults::default() });
        bench.settle();
        assert_eq!(bench.order(Order::Weight), Err(Vec::new()), "{kind:?}");
        bench.sim.set_faults(ScaleFaults::default());
        bench.sim.power_cycle(bench.now);
        bench.settle();
        assert_eq!(bench.weight().gross_or_net, Some(Grams(2_000)), "{kind:?}: 2 kg is above start-up zero");
    }
}

/// devices.md 1.6, the rule of Dibal: a change of 20 divisions or zero between two accepted weighings; at least 20 divisions.
#[test]
fn price_computing_scales_keep_the_minimum_rule() {
    let config = ScaleConfig { kind: ScaleKind::Dialog06, minimum_rule: true, ..ScaleConfig::default() };
    let mut bench = Bench::new(config);
    let empty = bench.weight();
    assert!(empty.below_minimum && empty.stable_zero());
    bench.place(1_000);
    bench.settle();
    let first = bench.weight();
    assert_eq!(first.usable(), Some(Grams(1_000)));
    assert_eq!(bench.weight(), first, "unchanged: status 21, the last weighing again");
    bench.place(1_050);
    bench.settle();
    assert_eq!(bench.weight(), first, "ten divisions are no change");
    bench.place(1_100);
    bench.settle();
    assert_eq!(bench.weight().usable(), Some(Grams(1_100)));
    let mut tisa = Bench::new(ScaleConfig { kind: ScaleKind::Tisa, ..config });
    tisa.place(1_000);
    tisa.settle();
    assert_eq!(tisa.weight().usable(), Some(Grams(1_000)));
    assert_eq!(tisa.weight().usable(), None, "TISA cannot say why it gives nothing out again");
}

#[test]
fn dialog_06_wants_its_checksums_again_after_fifty_weighings() {
    let config = ScaleConfig {
        kind: ScaleKind::Dialog06,
        checksum_polynomial: Some(0x1_8005),
        ..ScaleConfig::default()
    };
    let mut bench = Bench::new(config);
    for weighing in 0..120 {
        assert_eq!(bench.weight().usable(), Some(Grams(0)), "weighing {weighing}");
    }
    let wrong = Settings { checksum_polynomial: Some(0x1_1021), ..Settings::default() };
    for (settings, refusal) in [(wrong, Refusal::ChecksumWrong), (Settings::default(), Refusal::ChecksumKey)]
    {
        let mut bench = Bench::new(config);
        bench.host = scales::open(ScaleKind::Dialog06, &settings).unwrap();
        assert_eq!(bench.order(Order::Weight), Ok(Answer::Refused(refusal)));
    }
}
