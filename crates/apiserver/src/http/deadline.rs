//! How long a request that does not stream may take: the server's limit, or less where the client asks for it.
//!
//! Source: upstream's `timeout` query parameter, a Go duration; longer ones than the server's count as the server's.

use crate::request::Query;
use machinery::Status;
use machinery::duration::Duration as GoDuration;
use std::time::Duration;

/// The time for a request. 400 for a parameter that is not a duration.
pub(super) fn of(query: &Query, limit: Duration) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else { return Ok(limit) };
    let wanted = GoDuration::parse(text).map_err(|error| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {error}"))
    })?;
    // What is negative is over before it begins.
    let wanted = Duration::from_nanos(u64::try_from(wanted.0).unwrap_or(1));
    Ok(if wanted.is_zero() { limit } else { wanted.min(limit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_ask_for_less_than_the_limit() {
        let of = |query| of(&Query::parse(Some(query)), Duration::from_secs(60));
        assert_eq!(of("").unwrap(), Duration::from_secs(60));
        assert_eq!(of("timeout=0s").unwrap(), Duration::from_secs(60));
        assert_eq!(of("timeout=1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(of("timeout=2h").unwrap(), Duration::from_secs(60));
        assert_eq!(of("timeout=-1s").unwrap(), Duration::from_nanos(1));
        let error = of("timeout=5").unwrap_err();
        assert_eq!(error.code, 400);
        assert_eq!(
            error.message,
            "invalid timeout specified in the request URL - time: missing unit in duration \"5\""
        );
    }
}
