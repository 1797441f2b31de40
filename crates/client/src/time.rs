//! Stamps for API objects from the component's clock.

use component::Clock;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// The clock's wall time.
pub fn now(clock: &dyn Clock) -> Timestamp {
    Timestamp::try_from(clock.now()).unwrap_or_default()
}

/// The clock's wall time as the API's `Time`, which has whole seconds.
pub fn time(clock: &dyn Clock) -> Time {
    seconds(now(clock))
}

/// A stamp as the API's `Time`, cut to whole seconds.
pub fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The clock's wall time as the API's `MicroTime`.
pub fn micro_time(clock: &dyn Clock) -> MicroTime {
    MicroTime(now(clock))
}
