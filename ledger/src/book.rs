//! Double entry: named accounts whose balances always sum to zero.
//!
//! A positive balance is owed to the named party, a negative one is where it came from. One book counts
//! micro-tokens, another micro-units of money; the two are never added.

use std::collections::HashMap;
use std::hash::Hash;

use counterfoil_spec::ids::{AccountId, NodeId, ProviderId};

/// Accounts of the book of micro-tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenAccount {
    /// Tokens given once to new accounts.
    IssuedFree,
    /// Tokens that were paid for.
    IssuedPaid,
    /// Tokens that the operator granted.
    IssuedUnpaid,
    /// What accounts without a meter used.
    Unmetered,
    /// What an account may spend.
    Customer(AccountId),
    /// What a node was credited with.
    Node(NodeId),
    /// What was spent on work that no receipt covers.
    Uncredited,
}

/// Accounts of the book of micro-units of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoneyAccount {
    /// Payments less refunds.
    Received,
    /// Received and not yet recognised in a statement.
    Deferred,
    /// Shared among providers, and not yet owed to each.
    Providers,
    /// Owed to one provider.
    Provider(ProviderId),
    /// On its way to providers.
    InTransit,
    /// Gone to providers.
    Disbursed,
    /// Carried into the next pool.
    Carried,
    /// What is left to the platform.
    Platform,
}

impl MoneyAccount {
    /// Its kind, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Deferred => "deferred",
            Self::Providers => "providers",
            Self::Provider(_) => "provider",
            Self::InTransit => "in_transit",
            Self::Disbursed => "disbursed",
            Self::Carried => "carried",
            Self::Platform => "platform",
        }
    }
}

/// Why a posting was refused; it changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Its lines do not sum to zero.
    #[error("a posting out of balance by {0}")]
    Unbalanced(i128),
    /// A balance or sum does not fit.
    #[error("a balance does not fit its type")]
    Overflow,
}

/// One book.
#[derive(Debug, Clone)]
pub struct Book<N: Eq + Hash> {
    balances: HashMap<N, i128>,
    last: Vec<(N, i128)>,
}

impl<N: Eq + Hash> Default for Book<N> {
    fn default() -> Self {
        Self { balances: HashMap::new(), last: Vec::new() }
    }
}

/// Books are equal by their balances, however they came about.
impl<N: Eq + Hash> PartialEq for Book<N> {
    fn eq(&self, other: &Self) -> bool {
        self.balances == other.balances
    }
}

impl<N: Eq + Hash> Eq for Book<N> {}

impl<N: Copy + Ord + Hash> Book<N> {
    /// Adds each line to its account; each account is named once.
    ///
    /// # Errors
    /// [`BookError`]; then no balance changed.
    pub fn post(&mut self, lines: &[(N, i128)]) -> Result<(), BookError> {
        let mut sum = 0_i128;
        for (name, amount) in lines {
            sum = sum.checked_add(*amount).ok_or(BookError::Overflow)?;
            self.balance(name).checked_add(*amount).ok_or(BookError::Overflow)?;
        }
        //= spec/settlement.md#amounts
        //# Every entry MUST leave both books, the one of micro-tokens and the one of micro-units, with a sum of zero.
        if sum != 0 {
            return Err(BookError::Unbalanced(sum));
        }
        for (name, amount) in lines {
            let balance = self.balances.entry(*name).or_default();
            // Checked above for every line; an account named twice is a caller's fault and saturates.
            *balance = balance.saturating_add(*amount);
        }
        self.last.extend_from_slice(lines);
        Ok(())
    }

    /// The lines that the last entry posted; none where it posted nothing here.
    #[must_use]
    pub fn last(&self) -> &[(N, i128)] {
        &self.last
    }

    /// The next entry begins: nothing of it is posted yet.
    pub(crate) fn begin(&mut self) {
        self.last.clear();
    }

    /// One account's balance; zero where nothing was posted.
    #[must_use]
    pub fn balance(&self, name: &N) -> i128 {
        self.balances.get(name).copied().unwrap_or(0)
    }

    /// The sum of all balances, recomputed: zero in a book that is right; `None` where it does not fit.
    #[must_use]
    pub fn trial_balance(&self) -> Option<i128> {
        self.balances.values().try_fold(0_i128, |sum, b| sum.checked_add(*b))
    }

    //= spec/settlement.md#amounts
    //# Who shows, exports or shares out of the books MUST find that sum zero over all accounts first.
    pub(crate) fn balanced(&self) -> Result<(), BookError> {
        match self.trial_balance() {
            Some(0) => Ok(()),
            Some(by) => Err(BookError::Unbalanced(by)),
            None => Err(BookError::Overflow),
        }
    }

    /// Every account with its balance, in order of the names.
    #[must_use]
    pub fn accounts(&self) -> Vec<(N, i128)> {
        let mut all: Vec<_> = self.balances.iter().map(|(n, b)| (*n, *b)).collect();
        all.sort_unstable();
        all
    }
}

/// Every account of both books with its balance, in order of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balances {
    /// Micro-tokens.
    pub tokens: Vec<(TokenAccount, i128)>,
    /// Micro-units of money.
    pub money: Vec<(MoneyAccount, i128)>,
}

impl Balances {
    /// Those of two books that are in balance.
    ///
    /// # Errors
    /// [`BookError`] where a trial balance is not zero.
    pub(crate) fn of(tokens: &Book<TokenAccount>, money: &Book<MoneyAccount>) -> Result<Self, BookError> {
        tokens.balanced()?;
        money.balanced()?;
        Ok(Self { tokens: tokens.accounts(), money: money.accounts() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbalanced_posting_changes_nothing() {
        let mut book = Book::default();
        let lines = [(MoneyAccount::Received, -5), (MoneyAccount::Deferred, 4)];
        assert_eq!(book.post(&lines), Err(BookError::Unbalanced(-1)));
        assert_eq!(book.accounts(), []);
    }

    #[test]
    fn balanced_posting_counts_on_both_sides() {
        let mut book = Book::default();
        assert_eq!(book.post(&[(MoneyAccount::Received, -5), (MoneyAccount::Deferred, 5)]), Ok(()));
        assert_eq!(book.accounts(), [(MoneyAccount::Received, -5), (MoneyAccount::Deferred, 5)]);
        assert_eq!(book.trial_balance(), Some(0));
    }

    //= spec/settlement.md#amounts
    //= type=test
    //# Who shows, exports or shares out of the books MUST find that sum zero over all accounts first.
    #[test]
    fn nothing_is_shown_of_books_out_of_balance() {
        let (mut tokens, mut money) = (Book::default(), Book::default());
        money.post(&[(MoneyAccount::Received, -5), (MoneyAccount::Deferred, 5)]).unwrap();
        assert_eq!(
            Balances::of(&tokens, &money).map(|b| b.money),
            Ok(vec![(MoneyAccount::Received, -5), (MoneyAccount::Deferred, 5)])
        );
        money.balances.insert(MoneyAccount::Platform, 1);
        assert_eq!(Balances::of(&tokens, &money), Err(BookError::Unbalanced(1)));
        money.balances.insert(MoneyAccount::Platform, 0);
        tokens.balances.insert(TokenAccount::Uncredited, -7);
        assert_eq!(Balances::of(&tokens, &money), Err(BookError::Unbalanced(-7)));
    }

    #[test]
    fn balance_beyond_the_type_is_refused() {
        let mut book = Book::default();
        let most = i128::MAX;
        book.post(&[(MoneyAccount::Received, -most), (MoneyAccount::Deferred, most)]).unwrap();
        assert_eq!(
            book.post(&[(MoneyAccount::Platform, -1), (MoneyAccount::Deferred, 1)]),
            Err(BookError::Overflow)
        );
        assert_eq!(book.balance(&MoneyAccount::Platform), 0);
    }
}
