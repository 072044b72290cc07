//! What a label does with a command, and what comes due by itself.

use drv_protocol::esl::{
    AbsoluteTime, BROADCAST, Command, ErrorCode, Event, Led, LedControl, Response, TlvError,
};

use super::{EslSim, LOG_MAX};

/// What a label answers to bytes that are no command.
pub(super) const fn refusal(error: &TlvError) -> ErrorCode {
    match error {
        TlvError::Opcode { .. } => ErrorCode::InvalidOpcode,
        TlvError::Short { .. } | TlvError::Long { .. } | TlvError::Payload { .. } => {
            ErrorCode::InvalidParameters
        }
    }
}

impl EslSim {
    /// Carries a command out; `None` where the service has no answer.
    pub(super) fn execute(&mut self, id: u8, command: &Command, now: u64) -> Option<Response> {
        let own = self.address.map(drv_protocol::esl::Address::id);
        if id != BROADCAST && own != Some(id) {
            return Some(Response::Error(ErrorCode::InvalidParameters));
        }
        if self.faults.busy > 0 {
            self.faults.busy -= 1;
            return Some(Response::Error(ErrorCode::Retry));
        }
        let answer = self.outcome(command, now);
        if !matches!(answer, Ok(Some(Response::Error(_))) | Err(_)) {
            if self.log.len() == LOG_MAX {
                self.log.remove(0);
            }
            self.log.push(command.clone());
        }
        answer.unwrap_or_else(|code| Some(Response::Error(code)))
    }

    fn outcome(&mut self, command: &Command, now: u64) -> Result<Option<Response>, ErrorCode> {
        Ok(match command {
            Command::Ping => Some(Response::BasicState(self.basic_state(now))),
            Command::ServiceReset => {
                self.needs_service = false;
                Some(Response::BasicState(self.basic_state(now)))
            }
            Command::Unassociate => {
                let state = self.basic_state(now);
                self.forget();
                Some(Response::BasicState(state))
            }
            Command::FactoryReset => {
                self.forget();
                None
            }
            Command::UpdateComplete => {
                if !self.written.configured() {
                    return Err(ErrorCode::InvalidState);
                }
                self.stage = self.stage.after(Event::UpdateComplete, &self.written);
                None
            }
            Command::ReadSensor(index) => {
                let (_, data) =
                    self.parts.sensors.get(usize::from(*index)).ok_or(ErrorCode::InvalidParameters)?;
                Some(Response::SensorValue { index: *index, data: data.clone() })
            }
            Command::RefreshDisplay(display) => {
                let panel = self.panels.get_mut(usize::from(*display)).ok_or(ErrorCode::InvalidParameters)?;
                let image = panel.image.ok_or(ErrorCode::ImageNotAvailable)?;
                panel.refreshed += 1;
                Some(Response::DisplayState { display: *display, image })
            }
            Command::DisplayImage { display, image } => {
                self.available(*display, *image)?;
                self.show(*display, *image);
                Some(Response::DisplayState { display: *display, image: *image })
            }
            Command::DisplayTimedImage { display, image, at } => {
                self.available(*display, *image)?;
                self.show_at(*display, *image, *at, now)?;
                Some(Response::DisplayState { display: *display, image: *image })
            }
            Command::Led(control) => {
                self.check_led(control)?;
                self.light(control.index, control.led, now);
                Some(Response::LedState(control.index))
            }
            Command::LedTimed(control, at) => {
                self.check_led(control)?;
                self.light_at(control, *at, now)?;
                Some(Response::LedState(control.index))
            }
            Command::Vendor(_) => return Err(ErrorCode::InvalidOpcode),
        })
    }

    fn forget(&mut self) {
        self.stage = self.stage.after(Event::Forget, &self.written);
        self.reboot();
        self.written = drv_protocol::esl::Written::default();
        (self.address, self.sync_key, self.response_key) = (None, None, None);
    }

    fn available(&self, display: u8, image: u8) -> Result<(), ErrorCode> {
        if usize::from(display) >= self.panels.len() {
            return Err(ErrorCode::InvalidParameters);
        }
        if self.faults.low_battery {
            return Err(ErrorCode::InsufficientBattery);
        }
        if self.parts.images.last().is_none_or(|last| image > *last) {
            return Err(ErrorCode::InvalidImageIndex);
        }
        if self.parts.images.contains(&image) { Ok(()) } else { Err(ErrorCode::ImageNotAvailable) }
    }

    fn show(&mut self, display: u8, image: u8) {
        if let Some(panel) = self.panels.get_mut(usize::from(display)) {
            panel.image = Some(image);
            panel.refreshed += 1;
        }
    }

    fn show_at(&mut self, display: u8, image: u8, at: AbsoluteTime, now: u64) -> Result<(), ErrorCode> {
        let clock = self.clock(now).ok_or(ErrorCode::InvalidState)?;
        let panel = self.panels.get_mut(usize::from(display)).ok_or(ErrorCode::InvalidParameters)?;
        if at == AbsoluteTime(0) {
            panel.timed = None;
            return Ok(());
        }
        if !clock.plausible(at) {
            return Err(ErrorCode::ImplausibleTime);
        }
        if panel.timed.is_some_and(|(other, _)| other != at) {
            return Err(ErrorCode::QueueFull);
        }
        panel.timed = Some((at, image));
        Ok(())
    }

    fn check_led(&self, control: &LedControl) -> Result<(), ErrorCode> {
        let known = usize::from(control.index) < self.lights.len();
        if known && !control.led.impossible() { Ok(()) } else { Err(ErrorCode::InvalidParameters) }
    }

    fn light(&mut self, index: u8, led: Led, now: u64) {
        if let Some(light) = self.lights.get_mut(usize::from(index)) {
            light.led = led;
            light.until = led.lasts_ms().map(|ms| now.saturating_add(ms));
        }
    }

    fn light_at(&mut self, control: &LedControl, at: AbsoluteTime, now: u64) -> Result<(), ErrorCode> {
        let clock = self.clock(now).ok_or(ErrorCode::InvalidState)?;
        let light = self.lights.get_mut(usize::from(control.index)).ok_or(ErrorCode::InvalidParameters)?;
        if at == AbsoluteTime(0) {
            light.timed = None;
            return Ok(());
        }
        if !clock.plausible(at) {
            return Err(ErrorCode::ImplausibleTime);
        }
        if light.timed.is_some_and(|(other, _)| other != at) {
            return Err(ErrorCode::QueueFull);
        }
        light.timed = Some((at, control.led));
        Ok(())
    }

    /// Carries out what was timed and has come due, and puts out what has burnt long enough.
    pub(super) fn settle(&mut self, now: u64) {
        let clock = self.clock(now);
        // A time that is not ahead within reason has passed: the clock wraps.
        let due = |at: AbsoluteTime| clock.is_some_and(|clock| clock == at || !clock.plausible(at));
        for panel in &mut self.panels {
            if let Some((_, image)) = panel.timed.take_if(|(at, _)| due(*at)) {
                panel.image = Some(image);
                panel.refreshed += 1;
            }
        }
        for light in &mut self.lights {
            if let Some((_, led)) = light.timed.take_if(|(at, _)| due(*at)) {
                light.led = led;
                light.until = led.lasts_ms().map(|ms| now.saturating_add(ms));
            }
            if light.until.is_some_and(|until| until <= now) {
                light.led = Led::off();
            }
        }
    }
}
