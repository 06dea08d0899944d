//! Mixture-of-Experts arithmetic on candle: weights, tokenizer, dense decoder, gate, expert, sampler.
