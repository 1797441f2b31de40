//! A fake API for tests.
