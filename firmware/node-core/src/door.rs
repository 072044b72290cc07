//! A debounced contact.

/// How long a level must hold before it counts, in milliseconds: reed contacts bounce for a few.
pub const DEBOUNCE_MS: u64 = 30;

/// The door's contact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Door {
    open: bool,
    differs_since: Option<u64>,
}

impl Door {
    /// Takes the level at `now_ms` (`true`: open) and says whether the door counts as open.
    pub fn update(&mut self, now_ms: u64, open: bool) -> bool {
        if open == self.open {
            self.differs_since = None;
        } else {
            let since = *self.differs_since.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) >= DEBOUNCE_MS {
                self.open = open;
                self.differs_since = None;
            }
        }
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounces_do_not_count_and_a_level_that_holds_does() {
        let mut door = Door::default();
        for now in 0..200 {
            assert!(!door.update(now, now % 20 < 10), "{now}");
        }
        assert!(!door.update(200, true) && !door.update(229, true) && door.update(230, true));
        assert!(door.update(240, false) && door.update(269, false) && !door.update(270, false));
    }
}
