//! Vectors, black-box runner, fault and load tests, seeded simulation, tidy.
