//! The two books as journals of plain-text accounting: one transaction for each entry that posts, with the balances
//! that it leaves.
//!
//! A balance that is owed to somebody is positive in a [`crate::Book`] and a credit, so negative, in a journal. Tokens
//! and money are two commodities with six decimals each: micro-units are written exactly, and nothing is rounded.
//! hledger checks the `=` behind each posting; beancount knows balances of days only, so it is given those of the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::Seconds;

use crate::book::{MoneyAccount, TokenAccount};
use crate::calendar::Date;
use crate::error::LedgerError;
use crate::fold::Ledger;

/// Whose form the text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// hledger, with a balance assertion behind each posting.
    Hledger,
    /// beancount, with accounts that are opened, and balance directives at the end.
    Beancount,
}

/// Replays a log and writes down what each entry posts.
#[derive(Debug)]
pub struct Journal {
    dialect: Dialect,
    ledger: Ledger,
    currency: String,
    opened: BTreeSet<String>,
    last: Option<Date>,
}

/// One posting: account, amount and balance after it in millionths, commodity.
struct Line {
    account: String,
    amount: i128,
    balance: i128,
    commodity: String,
}

impl Journal {
    /// A journal that has seen no entry.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ledger: Ledger::default(),
            currency: "USD".to_owned(),
            opened: BTreeSet::new(),
            last: None,
        }
    }

    /// What stands first in the file.
    #[must_use]
    pub fn head(&self, origin: &str) -> String {
        match self.dialect {
            Dialect::Hledger => format!(
                "; The books of {origin}, as its log's entries give them.\n; TOKEN counts tokens that may be spent or were credited.\n\ncommodity 1000.000000 TOKEN\n\n"
            ),
            Dialect::Beancount => format!(
                "; TOKEN counts tokens that may be spent or were credited.\noption \"title\" \"The books of {}\"\n\n",
                origin.replace(['"', '\\'], "'")
            ),
        }
    }

    /// Takes an entry before those that are written down.
    ///
    /// # Errors
    /// [`LedgerError`] for an entry that the ledger refuses.
    pub fn before(&mut self, index: u64, body: &Body) -> Result<(), LedgerError> {
        if let Payload::Genesis(genesis) = &body.payload {
            self.currency = commodity(&genesis.currency);
        }
        self.ledger.apply(index, body)
    }

    /// The balances as they are, as one transaction; nothing where all are zero. Both books sum to zero, so it does.
    ///
    /// # Errors
    /// [`LedgerError`] where the books are out of balance.
    pub fn opening(&mut self, when: Seconds) -> Result<String, LedgerError> {
        let lines: Vec<Line> = self.balances()?.map(|line| Line { amount: line.balance, ..line }).collect();
        if lines.is_empty() {
            return Ok(String::new());
        }
        let what = match self.dialect {
            Dialect::Hledger => "* opening balances".to_owned(),
            Dialect::Beancount => "* \"opening balances\"".to_owned(),
        };
        Ok(self.transaction(when, &what, "", &lines))
    }

    /// How many entries were seen.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.ledger.applied()
    }

    /// Takes an entry and writes its transaction; nothing where it posts nothing.
    ///
    /// # Errors
    /// [`LedgerError`] for an entry that the ledger refuses.
    pub fn entry(
        &mut self,
        index: u64,
        leaf_hash: &Hash,
        body: &Body,
    ) -> Result<Option<String>, LedgerError> {
        self.before(index, body)?;
        self.last = Some(Date::of(body.time.seconds()));
        let lines: Vec<Line> = self.posted().filter(|line| line.amount != 0).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let (kind, serial) = (body.payload.name(), body.serial);
        let (what, facts) = match self.dialect {
            Dialect::Hledger => {
                (format!("* ({index}) {kind} {serial}  ; entry:{index}, leaf:{leaf_hash}"), String::new())
            }
            Dialect::Beancount => {
                (format!("* \"{kind}\" \"{serial}\""), format!("  entry: {index}\n  leaf: \"{leaf_hash}\"\n"))
            }
        };
        Ok(Some(self.transaction(body.time.seconds(), &what, &facts, &lines)))
    }

    /// The balances at the end, for the reader to check; nothing where all are zero.
    ///
    /// # Errors
    /// [`LedgerError`] where the books are out of balance.
    pub fn foot(&self) -> Result<String, LedgerError> {
        let balances = self.balances()?;
        let Some(last) = self.last else { return Ok(String::new()) };
        let mut out = String::new();
        for line in balances {
            let Line { account, balance, commodity, .. } = line;
            let balance = millionths(balance);
            let _ = match self.dialect {
                Dialect::Hledger => writeln!(out, "    {account}  0 {commodity} = {balance} {commodity}"),
                // A balance directive is about the beginning of its day.
                Dialect::Beancount => {
                    writeln!(out, "{} balance {account}  {balance} ~ 0 {commodity}", last.next())
                }
            };
        }
        Ok(match self.dialect {
            _ if out.is_empty() => out,
            Dialect::Hledger => format!("{last} * closing balances\n{out}\n"),
            Dialect::Beancount => format!("{out}\n"),
        })
    }

    fn transaction(&mut self, when: Seconds, what: &str, facts: &str, lines: &[Line]) -> String {
        let day = Date::of(when);
        let mut out = String::new();
        if self.dialect == Dialect::Beancount {
            for line in lines {
                if self.opened.insert(line.account.clone()) {
                    let _ = writeln!(out, "{day} open {} {}", line.account, line.commodity);
                }
            }
        }
        let _ = write!(out, "{day} {what}\n{facts}");
        for Line { account, amount, balance, commodity } in lines {
            let amount = millionths(*amount);
            let _ = match self.dialect {
                Dialect::Hledger => {
                    let balance = millionths(*balance);
                    writeln!(out, "    {account}  {amount} {commodity} = {balance} {commodity}")
                }
                Dialect::Beancount => writeln!(out, "  {account}  {amount} {commodity}"),
            };
        }
        out.push('\n');
        out
    }

    /// What the last entry posted.
    fn posted(&self) -> impl Iterator<Item = Line> {
        let (tokens, money) = (self.ledger.token_book(), self.ledger.money_book());
        let of_tokens = tokens.last().iter().map(|(name, amount)| Line {
            account: token_account(name),
            amount: -amount,
            balance: -tokens.balance(name),
            commodity: TOKEN.to_owned(),
        });
        let of_money = money.last().iter().map(|(name, amount)| Line {
            account: money_account(name),
            amount: -amount,
            balance: -money.balance(name),
            commodity: self.currency.clone(),
        });
        of_tokens.chain(of_money)
    }

    fn balances(&self) -> Result<impl Iterator<Item = Line>, LedgerError> {
        let balances = self.ledger.balances()?;
        let tokens = balances.tokens.into_iter().map(|(name, balance)| Line {
            account: token_account(&name),
            amount: 0,
            balance: -balance,
            commodity: TOKEN.to_owned(),
        });
        let money = balances.money.into_iter().map(|(name, balance)| Line {
            account: money_account(&name),
            amount: 0,
            balance: -balance,
            commodity: self.currency.clone(),
        });
        Ok(tokens.chain(money).filter(|line| line.balance != 0))
    }
}

fn token_account(name: &TokenAccount) -> String {
    match name {
        TokenAccount::IssuedFree => "Equity:Tokens:Issued:Free".to_owned(),
        TokenAccount::IssuedPaid => "Equity:Tokens:Issued:Paid".to_owned(),
        TokenAccount::IssuedUnpaid => "Equity:Tokens:Issued:Unpaid".to_owned(),
        TokenAccount::Unmetered => "Equity:Tokens:Unmetered".to_owned(),
        TokenAccount::Uncredited => "Equity:Tokens:Uncredited".to_owned(),
        // The parts of a name begin with a capital letter or a digit; ids begin with any letter.
        TokenAccount::Customer(account) => format!("Liabilities:Tokens:Customers:A-{account}"),
        TokenAccount::Node(node) => format!("Liabilities:Tokens:Nodes:N-{node}"),
    }
}

fn money_account(name: &MoneyAccount) -> String {
    let fixed = match name {
        MoneyAccount::Received => "Assets:Received",
        MoneyAccount::Deferred => "Liabilities:Deferred",
        MoneyAccount::Providers => "Liabilities:Providers",
        MoneyAccount::Provider(provider) => return format!("Liabilities:Payable:P-{provider}"),
        MoneyAccount::InTransit => "Liabilities:InTransit",
        MoneyAccount::Disbursed => "Assets:Disbursed",
        MoneyAccount::Carried => "Liabilities:Carried",
        MoneyAccount::Platform => "Income:Platform",
    };
    fixed.to_owned()
}

/// A currency's code as both programs take it; what is no such code comes from a log that nobody here wrote.
fn commodity(code: &str) -> String {
    let right = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    if right { code.to_owned() } else { "UNKNOWN".to_owned() }
}

/// A whole number of millionths in decimals.
fn millionths(amount: i128) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000)
}

/// The commodity of the book of micro-tokens.
const TOKEN: &str = "TOKEN";
