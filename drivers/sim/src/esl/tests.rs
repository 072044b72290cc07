//! The access point's session and packets against the label.

use drv_protocol::MilliCelsius;
use drv_protocol::esl::{
    Configuration, DisplayType, ErrorCode, LedControl, Outcome, Pattern, Repeat, Request, RgbLevel,
    SensorType, Session, SessionError, Step,
};

use super::*;

const SYNC: KeyMaterial = KeyMaterial { key: [1; 16], iv: [2; 8] };
const RESPONSE: KeyMaterial = KeyMaterial { key: [3; 16], iv: [4; 8] };

fn label() -> EslSim {
    let display = Display { width: 296, height: 128, kind: DisplayType::RedBlackWhite };
    let thermometer = (Sensor(SensorType::Property(0x0054)), vec![0xD2, 0x04]);
    let parts = EslParts {
        displays: vec![display],
        images: [0, 1, 3].into(),
        sensors: vec![thermometer],
        leds: vec![LedType::Srgb, LedType::Mono { colour: 3 }],
    };
    EslSim::new(parts, 7)
}

fn configuration(now: u64) -> Configuration {
    let address = Address::new(5, 1).unwrap();
    Configuration { address, sync_key: SYNC, response_key: RESPONSE, now: AbsoluteTime::of_ms(now) }
}

fn blink(index: u8) -> Command {
    let led = Led {
        colour: RgbLevel { red: 0, green: 3, blue: 0 },
        brightness: 3,
        pattern: Pattern::BLINK,
        repeat: Repeat::Seconds(10),
    };
    Command::Led(LedControl { index, led })
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    Done(Box<Outcome>),
    Failed(SessionError),
    Mute,
    Dropped,
}

/// Runs one connection.
fn run(label: &mut EslSim, requests: Vec<Request>, now: u64) -> End {
    let present: Vec<u16> = label.attributes().iter().map(|a| a.uuid).collect();
    let mut session = Session::new(&configuration(now), requests, &present).unwrap();
    label.connected(now);
    let end = talk(label, &mut session, now);
    label.disconnected(now);
    end
}

fn talk(label: &mut EslSim, session: &mut Session, now: u64) -> End {
    let mut step = session.begin();
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    loop {
        step = match step {
            Err(error) => return End::Failed(error),
            Ok(Step::Done) => return End::Done(Box::new(session.outcome().clone())),
            Ok(Step::Read(uuid)) => session.read(&label.read(uuid, now).unwrap()),
            Ok(Step::Write(uuid, bytes)) => {
                for action in label.write(uuid, &bytes, now).unwrap() {
                    match action {
                        TagAction::Notify(bytes) => waiting.push(bytes),
                        TagAction::Disconnect => return End::Dropped,
                    }
                }
                session.written()
            }
            Ok(Step::Listen) => match waiting.pop() {
                Some(bytes) => session.notified(&bytes),
                None => return End::Mute,
            },
            Ok(Step::Wait(_)) => session.waited(),
        };
    }
}

#[test]
fn a_session_configures_lights_reads_and_shows() {
    let mut label = label();
    assert_eq!(label.stage(), Stage::Unassociated);
    let show = Command::DisplayImage { display: 0, image: 1 };
    let requests = vec![blink(1).into(), Request::Temperature, show.clone().into(), Command::Ping.into()];
    let End::Done(outcome) = run(&mut label, requests, 1_000) else { panic!("done") };
    assert_eq!(outcome.temperature, Some(MilliCelsius(12_340)));
    assert_eq!(outcome.answers.last(), Some(&Response::BasicState(BasicState::ACTIVE_LED)));
    assert_eq!((outcome.image_max, outcome.leds.len()), (Some(3), 2));
    assert_eq!(label.stage(), Stage::Unsynchronized, "configured, but nobody synchronizes it");
    assert_eq!(label.keys(), (Some(SYNC), Some(RESPONSE)));
    assert_eq!(label.image(0, 1_000), Some(1));
    assert_eq!(label.led(1, 1_000).unwrap().repeat, Repeat::Seconds(10));
    assert_eq!(label.led(1, 11_000), Some(Led::off()), "ten seconds are over");
    assert_eq!(label.log(), [blink(1), Command::ReadSensor(0), show, Command::Ping]);
}

#[test]
fn refusals_are_those_of_the_service() {
    let refused = |label: &mut EslSim, command: Command| match run(label, vec![command.into()], 5) {
        End::Failed(SessionError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    let mut label = label();
    let show = |image| Command::DisplayImage { display: 0, image };
    assert_eq!(refused(&mut label, show(4)), ErrorCode::InvalidImageIndex);
    assert_eq!(refused(&mut label, show(2)), ErrorCode::ImageNotAvailable);
    assert_eq!(refused(&mut label, Command::RefreshDisplay(0)), ErrorCode::ImageNotAvailable);
    assert_eq!(refused(&mut label, Command::Vendor(vec![1])), ErrorCode::InvalidOpcode);
    let far = AbsoluteTime(5).after(49 * 24 * 3_600_000);
    let timed = |at| Command::DisplayTimedImage { display: 0, image: 1, at };
    assert_eq!(refused(&mut label, timed(far)), ErrorCode::ImplausibleTime);
    assert!(matches!(run(&mut label, vec![timed(AbsoluteTime(900)).into()], 5), End::Done(_)));
    assert_eq!(refused(&mut label, timed(AbsoluteTime(901))), ErrorCode::QueueFull);
    assert_eq!(label.image(0, 899), None);
    assert_eq!(label.image(0, 900), Some(1), "shown at its time");
    label.set_faults(EslFaults { low_battery: true, ..EslFaults::default() });
    assert_eq!(refused(&mut label, show(1)), ErrorCode::InsufficientBattery);
    let End::Done(outcome) = run(&mut label, vec![Command::Ping.into()], 5) else { panic!("done") };
    assert_eq!(outcome.answers, [Response::BasicState(BasicState::SERVICE_NEEDED)]);
    // A foreign number, by hand: the session would not send it.
    let foreign = label.write(CONTROL_POINT, &[0x00, 0x06], 5).unwrap();
    assert!(foreign.contains(&TagAction::Notify(vec![0x00, 0x06])));
}

#[test]
fn faults_are_what_a_session_survives_or_names() {
    let mut label = label();
    label.set_faults(EslFaults { busy: 2, ..EslFaults::default() });
    assert!(matches!(run(&mut label, vec![Command::Ping.into()], 0), End::Done(_)), "busy twice");
    label.set_faults(EslFaults { mute: true, ..EslFaults::default() });
    assert_eq!(run(&mut label, vec![Command::Ping.into()], 0), End::Mute);
    label.set_faults(EslFaults { wrong_index_permille: 1_000, ..EslFaults::default() });
    let end = run(&mut label, vec![blink(0).into()], 0);
    assert!(matches!(end, End::Failed(SessionError::Mismatch { opcode: 0xB0, .. })), "{end:?}");
    label.set_faults(EslFaults { disconnect_after: Some(1), ..EslFaults::default() });
    assert_eq!(run(&mut label, vec![Command::Ping.into(), Command::Ping.into()], 0), End::Dropped);
    assert!(matches!(run(&mut label, vec![blink(0).into()], 0), End::Done(_)), "once only");
    assert_ne!(label.led(0, 1), Some(Led::off()));
    label.set_faults(EslFaults { reboot_after: Some(0), ..EslFaults::default() });
    assert_eq!(run(&mut label, vec![Command::Ping.into()], 1), End::Dropped);
    assert_eq!((label.led(0, 1), label.clock(1)), (Some(Led::off()), None));
    assert!(label.address().is_some(), "what was written is kept");
}

#[test]
fn a_synchronized_label_answers_encrypted_packets() {
    let mut label = label();
    label.connected(0);
    label.set_synchronized(true);
    let present: Vec<u16> = label.attributes().iter().map(|a| a.uuid).collect();
    let update = vec![Command::UpdateComplete.into()];
    let mut session = Session::new(&configuration(0), update, &present).unwrap();
    assert_eq!(talk(&mut label, &mut session, 0), End::Dropped, "it ends the connection itself");
    label.disconnected(0);
    assert_eq!(label.stage(), Stage::Synchronized);
    let mut randomizer = Randomizer::of_access_point([9; 5]);
    let mut ask = |label: &mut EslSim, group: u8, commands: &[(u8, Command)]| {
        let inner = sync::build(group, commands).unwrap();
        let packet = sync::seal(&SYNC, IvOrder::AsWritten, randomizer.take(), &inner).unwrap();
        let answer = label.sync_packet(&packet, 10)?;
        sync::parse_responses(&sync::open(&RESPONSE, IvOrder::AsWritten, &answer).unwrap()).ok()
    };
    let commands = [(5, Command::Ping), (6, Command::Ping), (0xFF, blink(0)), (5, Command::ReadSensor(0))];
    let answers = ask(&mut label, 1, &commands).unwrap();
    // Number 6 is another label of the group: this one answers with an error of its own only when it is meant.
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0], Response::BasicState(BasicState::SYNCHRONIZED));
    assert_ne!(label.led(0, 11), Some(Led::off()), "a broadcast is carried out");
    assert_eq!(ask(&mut label, 2, &[(5, Command::Ping)]), None, "another group");
    label.set_synchronized(false);
    assert_eq!(label.stage(), Stage::Unsynchronized);
}

#[test]
fn no_bytes_panic() {
    let mut label = label();
    label.set_faults(EslFaults { garbage_permille: 200, wrong_index_permille: 100, ..EslFaults::default() });
    let mut rng = Rng::new(5);
    let uuids: Vec<u16> = label.attributes().iter().map(|a| a.uuid).chain([0x1234]).collect();
    for now in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.below(26)).map(|_| rng.byte()).collect();
        let uuid = uuids[usize::try_from(rng.below(10)).unwrap()];
        match rng.below(8) {
            0 => label.connected(now),
            1 => label.disconnected(now),
            2 => drop(label.read(uuid, now)),
            3 => drop(label.sync_packet(&bytes, now)),
            _ => drop(label.write(uuid, &bytes, now)),
        }
    }
}
