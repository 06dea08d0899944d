//! Turns a request into verified expert calls, an answer and one log entry; serves the HTTP API and pages.
