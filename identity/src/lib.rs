//! Keys, certificates, enrolment, TLS configs, and the proof of who connected or signed.
