//! [`Alarms`]: which of etcd's alarms are set. An alarm is durable: it stays over restarts until it is taken back.

use crate::maintenance::Alarm;

/// The alarms that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms(u8);

/// etcd's number of an alarm.
pub(crate) fn number(alarm: Alarm) -> u8 {
    match alarm {
        Alarm::NoSpace => 1,
        Alarm::Corrupt => 2,
    }
}

/// The alarm with this number.
pub(crate) fn from_number(number: u8) -> Option<Alarm> {
    match number {
        1 => Some(Alarm::NoSpace),
        2 => Some(Alarm::Corrupt),
        _ => None,
    }
}

impl Alarms {
    pub(crate) fn has(self, alarm: Alarm) -> bool {
        self.0 & number(alarm) != 0
    }

    pub(crate) fn set(&mut self, alarm: Alarm, is_set: bool) {
        match is_set {
            true => self.0 |= number(alarm),
            false => self.0 &= !number(alarm),
        }
    }

    /// Those that are set.
    pub(crate) fn all(self) -> Vec<Alarm> {
        [Alarm::NoSpace, Alarm::Corrupt].into_iter().filter(|alarm| self.has(*alarm)).collect()
    }
}
