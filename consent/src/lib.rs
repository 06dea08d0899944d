//! Grants, checks, narrows and revokes permission to serve a model.
