//! A label of the Bluetooth SIG ESL service: connected mode through its attributes, synchronized mode through packets.
//!
//! It answers as the label implementations do that `drv_protocol::esl` names: a foreign label number is "invalid
//! parameters", one timed command may wait per LED and display, "update complete" and "factory reset" are not answered.
//! Images cannot be uploaded here (they travel over another transport); a label is made with those it has.

mod execute;

use std::collections::BTreeSet;

use drv_protocol::esl::ead::{IvOrder, Randomizer};
use drv_protocol::esl::{
    ABSOLUTE_TIME, ADDRESS, AP_SYNC_KEY, AbsoluteTime, Address, BasicState, CONTROL_POINT, Command, DISPLAYS,
    Display, Event, IMAGES, KeyMaterial, LEDS, Led, LedType, RESPONSE_KEY, Response, SENSORS, SERVICE,
    Sensor, Stage, Written, sync,
};

use crate::gatt::{Attribute, GattTag, Refusal};
use crate::rng::Rng;
use crate::tag::TagAction;

/// What is wrong with a label; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EslFaults {
    /// It notifies nothing.
    pub mute: bool,
    /// It says "try again" to so many commands.
    pub busy: u8,
    /// It answers for another index than it was asked, so many of 1000 times.
    pub wrong_index_permille: u16,
    /// So many of 1000 notifications are random bytes.
    pub garbage_permille: u16,
    /// It drops the connection after this many commands, once.
    pub disconnect_after: Option<u32>,
    /// It restarts after this many commands, once: the link drops, LEDs are off, what was timed is forgotten.
    pub reboot_after: Option<u32>,
    /// Its battery is low: it needs service and changes no display.
    pub low_battery: bool,
}

/// What a label is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EslParts {
    /// Its panels.
    pub displays: Vec<Display>,
    /// The images it has, by index; the highest is what it says of itself.
    pub images: BTreeSet<u8>,
    /// Its sensors with their present values.
    pub sensors: Vec<(Sensor, Vec<u8>)>,
    /// Its LEDs.
    pub leds: Vec<LedType>,
}

/// One LED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Light {
    led: Led,
    /// When it goes out; `None` for never.
    until: Option<u64>,
    timed: Option<(AbsoluteTime, Led)>,
}

/// One panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Panel {
    image: Option<u8>,
    timed: Option<(AbsoluteTime, u8)>,
    refreshed: u64,
}

/// The label.
#[derive(Clone, Debug)]
pub struct EslSim {
    parts: EslParts,
    faults: EslFaults,
    rng: Rng,
    order: IvOrder,
    stage: Stage,
    written: Written,
    address: Option<Address>,
    sync_key: Option<KeyMaterial>,
    response_key: Option<KeyMaterial>,
    randomizer: Randomizer,
    /// The label's clock minus the host's.
    clock: Option<(AbsoluteTime, u64)>,
    panels: Vec<Panel>,
    lights: Vec<Light>,
    needs_service: bool,
    commands: u32,
    refused: u64,
    connections: u64,
    log: Vec<Command>,
}

/// How many commands a label remembers.
pub const LOG_MAX: usize = 256;

const ATTRIBUTES: [Attribute; 9] = [
    Attribute::writable(ADDRESS),
    Attribute::writable(AP_SYNC_KEY),
    Attribute::writable(RESPONSE_KEY),
    Attribute::writable(ABSOLUTE_TIME),
    Attribute::readable(DISPLAYS),
    Attribute::readable(IMAGES),
    Attribute::readable(SENSORS),
    Attribute::readable(LEDS),
    Attribute { uuid: CONTROL_POINT, read: false, write: true, command: true, notify: true },
];

impl EslSim {
    /// An unassociated label that shows nothing.
    #[must_use]
    pub fn new(parts: EslParts, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let random = [rng.byte(), rng.byte(), rng.byte(), rng.byte(), rng.byte()];
        let dark = Light { led: Led::off(), until: Some(0), timed: None };
        Self {
            panels: vec![Panel::default(); parts.displays.len()],
            lights: vec![dark; parts.leds.len()],
            parts,
            faults: EslFaults::default(),
            rng,
            order: IvOrder::AsWritten,
            stage: Stage::Unassociated,
            written: Written::default(),
            address: None,
            sync_key: None,
            response_key: None,
            randomizer: Randomizer::of_label(random),
            clock: None,
            needs_service: false,
            commands: 0,
            refused: 0,
            connections: 0,
            log: Vec::new(),
        }
    }

    /// Switches faults on and off.
    pub const fn set_faults(&mut self, faults: EslFaults) {
        self.faults = faults;
    }

    /// Where it stands with its access point.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The address it was given.
    #[must_use]
    pub const fn address(&self) -> Option<Address> {
        self.address
    }

    /// The keys it was given: of sync packets, of responses.
    #[must_use]
    pub const fn keys(&self) -> (Option<KeyMaterial>, Option<KeyMaterial>) {
        (self.sync_key, self.response_key)
    }

    /// What an LED does now; `None` for an LED that it has not.
    pub fn led(&mut self, index: u8, now: u64) -> Option<Led> {
        self.settle(now);
        self.lights.get(usize::from(index)).map(|light| light.led)
    }

    /// The image a display shows; `None` for none.
    pub fn image(&mut self, display: u8, now: u64) -> Option<u8> {
        self.settle(now);
        self.panels.get(usize::from(display))?.image
    }

    /// How often a display was drawn.
    #[must_use]
    pub fn refreshed(&self, display: u8) -> u64 {
        self.panels.get(usize::from(display)).map_or(0, |panel| panel.refreshed)
    }

    /// Sets a sensor's value.
    pub fn set_sensor(&mut self, index: u8, value: &[u8]) {
        if let Some((_, data)) = self.parts.sensors.get_mut(usize::from(index)) {
            *data = value.to_vec();
        }
    }

    /// Connections made.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// Commands that it refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The last commands carried out, oldest first.
    #[must_use]
    pub fn log(&self) -> &[Command] {
        &self.log
    }

    /// The label's clock; `None` until it was set.
    #[must_use]
    pub fn clock(&self, now: u64) -> Option<AbsoluteTime> {
        let (set, at) = self.clock?;
        let passed = AbsoluteTime::of_ms(now.saturating_sub(at));
        Some(AbsoluteTime(set.0.wrapping_add(passed.0)))
    }

    /// It has received the sync information of the periodic advertising, or lost it.
    pub const fn set_synchronized(&mut self, synchronized: bool) {
        self.written.synchronized = synchronized;
        if !synchronized {
            self.stage = self.stage.after(Event::SyncLost, &self.written);
        }
    }

    /// A packet of the synchronized mode (`len 31 ...`); gives the encrypted response, when there is one.
    pub fn sync_packet(&mut self, packet: &[u8], now: u64) -> Option<Vec<u8>> {
        self.settle(now);
        let (sync_key, response_key) = (self.sync_key?, self.response_key?);
        if self.stage != Stage::Synchronized {
            return None;
        }
        let inner = sync::open(&sync_key, self.order, packet).ok()?;
        let (group, commands) = sync::parse(&inner).ok()?;
        let own = self.address.filter(|address| address.group() == group)?;
        let mut responses = Vec::new();
        for (id, command) in commands {
            let answer = self.execute(id, &command, now);
            // A broadcast is carried out by everybody and answered by nobody.
            if id == own.id() {
                responses.extend(answer);
            }
        }
        let inner = sync::build_responses(&responses).ok()?;
        sync::seal(&response_key, self.order, self.randomizer.take(), &inner).ok()
    }

    fn basic_state(&self, now: u64) -> BasicState {
        let lit = self.lights.iter().any(|light| light.until.is_none_or(|until| until > now));
        BasicState::default()
            .with(BasicState::SERVICE_NEEDED, self.needs_service || self.faults.low_battery)
            .with(BasicState::SYNCHRONIZED, self.written.synchronized)
            .with(BasicState::ACTIVE_LED, lit)
            .with(BasicState::PENDING_LED_UPDATE, self.lights.iter().any(|light| light.timed.is_some()))
            .with(BasicState::PENDING_DISPLAY_UPDATE, self.panels.iter().any(|panel| panel.timed.is_some()))
    }

    fn notify(&mut self, response: &Response) -> Vec<TagAction> {
        if self.faults.mute {
            return Vec::new();
        }
        if self.rng.chance(self.faults.garbage_permille) {
            return vec![TagAction::Notify((0..=self.rng.below(12)).map(|_| self.rng.byte()).collect())];
        }
        let response = match response {
            Response::LedState(index) if self.rng.chance(self.faults.wrong_index_permille) => {
                Response::LedState(index.wrapping_add(1))
            }
            Response::DisplayState { display, image }
                if self.rng.chance(self.faults.wrong_index_permille) =>
            {
                Response::DisplayState { display: *display, image: image.wrapping_add(1) }
            }
            other => other.clone(),
        };
        response.encode().map(|bytes| vec![TagAction::Notify(bytes)]).unwrap_or_default()
    }

    fn control_point(&mut self, bytes: &[u8], now: u64) -> Vec<TagAction> {
        self.commands = self.commands.saturating_add(1);
        if self.faults.disconnect_after.is_some_and(|after| self.commands > after) {
            self.faults.disconnect_after = None;
            return vec![TagAction::Disconnect];
        }
        if self.faults.reboot_after.is_some_and(|after| self.commands > after) {
            self.faults.reboot_after = None;
            self.reboot();
            return vec![TagAction::Disconnect];
        }
        let answer = match Command::decode(bytes) {
            Ok((id, command)) => self.execute(id, &command, now),
            Err(error) => Some(Response::Error(execute::refusal(&error))),
        };
        if matches!(answer, Some(Response::Error(_))) {
            self.refused += 1;
        }
        let mut actions = answer.map(|answer| self.notify(&answer)).unwrap_or_default();
        // A label that has forgotten its access point or returns to synchronized mode ends the connection itself.
        if matches!(self.stage, Stage::Unassociated | Stage::Synchronized) {
            actions.push(TagAction::Disconnect);
        }
        actions
    }

    /// Everything volatile is lost; what the access point wrote is kept.
    fn reboot(&mut self) {
        for light in &mut self.lights {
            *light = Light { led: Led::off(), until: Some(0), timed: None };
        }
        self.panels.iter_mut().for_each(|panel| panel.timed = None);
        self.clock = None;
        self.written.time = false;
    }
}

impl GattTag for EslSim {
    fn name(&self) -> &'static str {
        "ESL"
    }

    fn manufacturer_data(&self) -> Option<(u16, Vec<u8>)> {
        None
    }

    fn service(&self) -> u16 {
        SERVICE
    }

    fn attributes(&self) -> &'static [Attribute] {
        &ATTRIBUTES
    }

    fn connected(&mut self, _now: u64) {
        self.connections += 1;
        self.commands = 0;
        self.stage = self.stage.after(Event::Connected, &self.written);
    }

    fn disconnected(&mut self, _now: u64) {
        self.stage = self.stage.after(Event::Disconnected, &self.written);
    }

    fn read(&mut self, uuid: u16, _now: u64) -> Result<Vec<u8>, Refusal> {
        Ok(match uuid {
            DISPLAYS => self.parts.displays.iter().flat_map(Display::encode).collect(),
            IMAGES => vec![self.parts.images.last().copied().ok_or(Refusal::NotPermitted)?],
            SENSORS => self.parts.sensors.iter().flat_map(|(sensor, _)| sensor.encode()).collect(),
            LEDS => self.parts.leds.iter().map(|led| led.encode()).collect(),
            _ => return Err(Refusal::NotPermitted),
        })
    }

    fn write(&mut self, uuid: u16, bytes: &[u8], now: u64) -> Result<Vec<TagAction>, Refusal> {
        self.settle(now);
        match uuid {
            CONTROL_POINT => return Ok(self.control_point(bytes, now)),
            ADDRESS => {
                self.address = Some(Address::parse(bytes).map_err(|_| Refusal::Value)?);
                self.written.address = true;
            }
            AP_SYNC_KEY => {
                self.sync_key = Some(KeyMaterial::parse(bytes).ok_or(Refusal::Value)?);
                self.written.sync_key = true;
            }
            RESPONSE_KEY => {
                self.response_key = Some(KeyMaterial::parse(bytes).ok_or(Refusal::Value)?);
                self.written.response_key = true;
            }
            ABSOLUTE_TIME => {
                let value = bytes.try_into().map_err(|_| Refusal::Value)?;
                self.clock = Some((AbsoluteTime(u32::from_le_bytes(value)), now));
                self.written.time = true;
            }
            _ => return Err(Refusal::NotPermitted),
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
