//! What the words before a number say about it.
//!
//! **Invariant**: the nearest word that says anything decides; a line's end, another number or five silent words end the search.

/// What a number is announced as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Phone,
    /// Something that is numbered and is no phone.
    Other,
    Silent,
}

const WORDS_BACK: usize = 5;
const BYTES_BACK: usize = 64;

/// Words that start like this announce a phone.
const PHONE_STEMS: &[&str] = &[
    "phone",
    "telephone",
    "téléphone",
    "telefon",
    "teléfono",
    "teléfonos",
    "telefone",
    "telefoon",
    "puhelin",
    "mobil",
    "móvil",
    "celular",
    "cellul",
    "cellphone",
    "smartphone",
    "whatsapp",
    "voicemail",
    "hotline",
    "handy",
    "rufnummer",
    "telemóvel",
    "komór",
    "телефон",
    "мобильн",
    "電話",
    "电话",
    "手机",
    "携帯",
    "전화",
    "휴대폰",
    "joignable",
    "durchwahl",
];

/// Words that are exactly this announce a phone.
const PHONE_WORDS: &[&str] = &[
    "tel", "tél", "tlf", "tfn", "puh", "ph", "mob", "mobile", "cell", "cel", "fax", "call", "calls", "text", "sms", "dial",
    "ring", "bel", "portable", "gsm", "móvil", "movil", "llamar", "anrufen", "тел", "моб", "☎", "📞", "numéro", "line",
];

/// Words that announce a phone when a colon or full stop follows at once.
const PHONE_LETTERS: &[&str] = &["t", "m", "p", "f", "h", "w", "c", "o", "d"];

/// Words that start like this announce something else.
const OTHER_STEMS: &[&str] = &[
    "order",
    "invoice",
    "track",
    "serial",
    "account",
    "polic",
    "patent",
    "bestell",
    "rechnung",
    "kunden",
    "factur",
    "fattur",
    "pedido",
    "commande",
    "facture",
    "confirmation",
    "reservation",
    "booking",
    "steuer",
    "aktenz",
    "receipt",
    "certificat",
    "version",
    "timestamp",
    "coordinate",
    "订单",
];

/// Words that are exactly this announce something else.
const OTHER_WORDS: &[&str] = &[
    "ref",
    "reference",
    "id",
    "isbn",
    "issn",
    "sku",
    "part",
    "item",
    "model",
    "ticket",
    "case",
    "acct",
    "iban",
    "zip",
    "postcode",
    "plz",
    "po",
    "upc",
    "ean",
    "gtin",
    "vin",
    "imei",
    "batch",
    "lot",
    "siret",
    "siren",
    "nif",
    "cnpj",
    "krs",
    "regon",
    "инн",
    "vat",
    "ust",
    "konto",
    "blz",
    "job",
    "req",
    "meeting",
    "passcode",
    "docket",
    "lat",
    "lon",
    "n/s",
    "s/n",
    "nsn",
    "cas",
    "npi",
    "doi",
    "build",
    "route",
    "parcel",
    "customer",
    "po#",
    "邮编",
];

/// The label of a number by the words before it, which a text ends with.
pub(crate) fn before(words: &str) -> Label {
    let window = nearest(words).rsplit(['\n', '\r', ';', '!', '?']).next().unwrap_or_default();
    let mut rest = window;
    for _ in 0..WORDS_BACK {
        rest = rest.trim_end_matches(|c: char| !is_word(c));
        let word_start = rest.char_indices().rev().take_while(|&(_, c)| is_word(c)).last().map_or(rest.len(), |(at, _)| at);
        let word = rest[word_start..].to_lowercase();
        if word.is_empty() || word.chars().any(|c| c.is_ascii_digit()) {
            return Label::Silent;
        }
        let followed_by = window[rest.len()..].chars().next();
        match meaning(&word, followed_by) {
            Label::Silent => rest = &rest[..word_start],
            label => return label,
        }
    }
    Label::Silent
}

/// Whether one of the last words of `text` is among `words`, for kinds that want to be announced.
pub(crate) fn mentions(text: &str, words: &[&str]) -> bool {
    nearest(text).to_lowercase().split(|c: char| !is_word(c)).any(|word| words.contains(&word))
}

fn nearest(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(BYTES_BACK))..]
}

fn meaning(word: &str, followed_by: Option<char>) -> Label {
    let starts = |stems: &[&str]| stems.iter().any(|stem| word.starts_with(stem));
    let lettered = PHONE_LETTERS.contains(&word) && matches!(followed_by, Some(':' | '.'));
    if PHONE_WORDS.contains(&word) || lettered || starts(PHONE_STEMS) || word.ends_with("phone") {
        Label::Phone
    } else if OTHER_WORDS.contains(&word) || starts(OTHER_STEMS) {
        Label::Other
    } else {
        Label::Silent
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '☎' || c == '📞'
}
