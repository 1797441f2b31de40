//! Cutting an answer that is too large for one message into several, when the client allows it.

use super::watching::size;
use crate::rpc::WatchResponse;
use std::collections::VecDeque;

/// Appends `answer` to `out` in pieces of at most `limit` bytes (but at least one event each). All but the last
/// say that more follows.
pub(super) fn push(answer: WatchResponse, limit: usize, out: &mut VecDeque<WatchResponse>) {
    let frame = WatchResponse { events: Vec::new(), fragment: true, ..answer.clone_frame() };
    let mut piece = frame.clone();
    let mut bytes = 0;
    for event in answer.events {
        let more = size(&event);
        if bytes + more > limit && !piece.events.is_empty() {
            out.push_back(std::mem::replace(&mut piece, frame.clone()));
            bytes = 0;
        }
        bytes += more;
        piece.events.push(event);
    }
    out.push_back(WatchResponse { fragment: false, ..piece });
}

impl WatchResponse {
    /// A copy without the events.
    fn clone_frame(&self) -> Self {
        Self {
            header: self.header,
            watch_id: self.watch_id,
            created: self.created,
            canceled: self.canceled,
            compact_revision: self.compact_revision,
            cancel_reason: self.cancel_reason.clone(),
            fragment: self.fragment,
            events: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{Event, KeyValue};

    fn answer(sizes: &[usize]) -> WatchResponse {
        let event = |size: &usize| Event {
            kv: Some(KeyValue { value: vec![0; *size].into(), ..KeyValue::default() }),
            ..Event::default()
        };
        WatchResponse { watch_id: 4, events: sizes.iter().map(event).collect(), ..WatchResponse::default() }
    }

    #[test]
    fn cuts_between_events() {
        let mut out = VecDeque::new();
        push(answer(&[100, 100, 5000, 100, 100]), 300, &mut out);
        let shape: Vec<_> = out.iter().map(|piece| (piece.events.len(), piece.fragment)).collect();
        assert_eq!(shape, [(2, true), (1, true), (2, false)]);
        assert!(out.iter().all(|piece| piece.watch_id == 4));
    }

    #[test]
    fn what_fits_stays_whole() {
        let mut out = VecDeque::new();
        push(answer(&[10, 10]), 300, &mut out);
        assert_eq!(out.len(), 1);
        assert!(!out[0].fragment);
        out.clear();
        push(answer(&[]), 300, &mut out);
        assert_eq!(out.len(), 1, "an answer without events is sent too");
    }
}
