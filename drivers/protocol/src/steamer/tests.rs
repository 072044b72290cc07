//! Modes, derivation and interlocks.

use super::*;
use crate::profile::Image;

fn idle() -> SteamerReading {
    SteamerReading {
        mode: CombiSteamerMode::StandBy,
        chamber: Some(MilliCelsius(25_000)),
        core: None,
        set_point: Some(MilliCelsius(100_000)),
        program_end: false,
        running: false,
        heating: false,
        door_open: false,
        low_water: false,
        over_temperature: false,
        sensor_fault: false,
        inputs_known: true,
    }
}

/// devices.md 4.1: CombiSteamerMode of OPC 30200.
#[test]
fn modes_have_the_published_numbers() {
    for (number, mode) in (0_u8..).zip(CombiSteamerMode::ALL) {
        assert_eq!(mode.number(), number);
        assert_eq!(CombiSteamerMode::from_number(number), Some(mode));
    }
    assert_eq!(CombiSteamerMode::Steaming.number(), 4);
    assert_eq!(CombiSteamerMode::Error.number(), 10);
    assert_eq!(CombiSteamerMode::from_number(11), None);
}

/// devices.md 4.2: status bits of H175 3-25; the stop bit lies in the upper word.
#[test]
fn status_bits_lie_where_the_manual_says() {
    let status = ControllerStatus::from_words(0x0B00, 0x8140);
    for bit in [
        ControllerStatus::STOP,
        ControllerStatus::WRITING,
        ControllerStatus::PROGRAM_START,
        ControllerStatus::PROGRAM_END,
        ControllerStatus::HEATING,
        ControllerStatus::INPUT_ERROR,
    ] {
        assert!(status.any(bit));
    }
    assert!(!status.any(ControllerStatus::BURN_OUT | ControllerStatus::HEATER_OVERCURRENT));
}

#[test]
fn what_was_not_read_is_an_error_and_forbids_a_start() {
    let profile: Profile =
        toml::from_str(include_str!("../../../../configs/devices/steamer-e5cc.toml")).unwrap();
    let reading = SteamerReading::derive(&profile.decode(&Image::new()));
    assert_eq!(reading.mode, CombiSteamerMode::Error);
    assert!(!reading.inputs_known && !reading.running && reading.sensor_fault);
    let refused = Permit::check(&reading, 0, &PermitLimits::default());
    assert_eq!(refused, Err(Interlock::InputsUnknown));
    assert!(stop(&profile).is_ok());
}

#[test]
fn modes_follow_temperature_and_program() {
    let running = SteamerReading { running: true, ..idle() };
    assert_eq!(running.derived_mode(), CombiSteamerMode::Preheat);
    let hot = SteamerReading { chamber: Some(MilliCelsius(98_000)), ..running };
    assert_eq!(hot.derived_mode(), CombiSteamerMode::Steaming);
    assert_eq!(SteamerReading { program_end: true, ..hot }.derived_mode(), CombiSteamerMode::StandBy);
    assert_eq!(SteamerReading { low_water: true, ..hot }.derived_mode(), CombiSteamerMode::Error);
    assert_eq!(SteamerReading { set_point: None, ..hot }.derived_mode(), CombiSteamerMode::On);
    assert_eq!(idle().derived_mode(), CombiSteamerMode::StandBy);
}

#[test]
fn every_interlock_forbids_by_name() {
    let limits = PermitLimits::default();
    let rows = [
        (SteamerReading { inputs_known: false, ..idle() }, Interlock::InputsUnknown),
        (SteamerReading { sensor_fault: true, ..idle() }, Interlock::SensorFault),
        (SteamerReading { low_water: true, ..idle() }, Interlock::LowWater),
        (SteamerReading { over_temperature: true, ..idle() }, Interlock::OverTemperature),
        (SteamerReading { chamber: Some(MilliCelsius(130_001)), ..idle() }, Interlock::OverTemperature),
        (SteamerReading { door_open: true, ..idle() }, Interlock::DoorOpen),
    ];
    for (reading, interlock) in rows {
        assert_eq!(Permit::check(&reading, 0, &limits), Err(interlock));
    }
    assert!(matches!(Permit::check(&idle(), 5_001, &limits), Err(Interlock::Stale { age_ms: 5_001, .. })));
    let permit = Permit::check(&idle(), 5_000, &limits).unwrap();
    assert_eq!(permit.at_age_ms(), 5_000);
    let profile: Profile =
        toml::from_str(include_str!("../../../../configs/devices/steamer-e5cc.toml")).unwrap();
    assert_eq!(run(&permit, &profile).unwrap().len(), 2);
    assert_eq!(set_point(&permit, &profile, MilliCelsius(98_000)).unwrap().len(), 2);
    assert!(set_point(&permit, &profile, MilliCelsius(200_000)).is_err());
}
