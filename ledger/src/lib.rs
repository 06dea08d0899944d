//! Pure, integer-only replay of entries into balances, holds, statements and payouts.
