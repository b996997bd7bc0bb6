//! The words that candidates are made of.

pub(super) const FIRST: [&str; 40] = [
    "Ana", "Ben", "Carla", "Dmitri", "Elena", "Farid", "Grace", "Hugo", "Imani", "Jonas", "Keiko", "Liam", "Mara", "Nils",
    "Olga", "Pedro", "Quinn", "Rosa", "Samir", "Tessa", "Uma", "Victor", "Wanda", "Xavier", "Yara", "Zane", "Aisha", "Bruno",
    "Chloe", "Dario", "Edith", "Femi", "Gloria", "Henrik", "Ines", "Jamal", "Katrin", "Lorenzo", "Mei", "Noor",
];
pub(super) const LAST: [&str; 40] = [
    "Abbott",
    "Becker",
    "Castillo",
    "Dvorak",
    "Eriksen",
    "Fontaine",
    "Garcia",
    "Haddad",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lindgren",
    "Moreau",
    "Nakamura",
    "O'Brien",
    "Petrov",
    "Quintana",
    "Rossi",
    "Silva",
    "Tanaka",
    "Underwood",
    "Vargas",
    "Weber",
    "Xu",
    "Young",
    "Zimmermann",
    "Adeyemi",
    "Bianchi",
    "Cohen",
    "Duarte",
    "Engel",
    "Fischer",
    "Gupta",
    "Horvath",
    "Iqbal",
    "Jovanovic",
    "Kaya",
    "Larsen",
    "Mbeki",
    "Novak",
];
/// City, state, area code, first three digits of the postal code.
pub(super) const PLACES: [(&str, &str, &str, &str); 16] = [
    ("Chicago", "IL", "312", "606"),
    ("Peoria", "IL", "309", "616"),
    ("Columbus", "OH", "614", "432"),
    ("Dayton", "OH", "937", "454"),
    ("Nashville", "TN", "615", "372"),
    ("Memphis", "TN", "901", "381"),
    ("Dallas", "TX", "214", "752"),
    ("Houston", "TX", "713", "770"),
    ("Phoenix", "AZ", "602", "850"),
    ("Denver", "CO", "303", "802"),
    ("Atlanta", "GA", "404", "303"),
    ("Savannah", "GA", "912", "314"),
    ("Portland", "OR", "503", "972"),
    ("Tampa", "FL", "813", "336"),
    ("Detroit", "MI", "313", "482"),
    ("Boise", "ID", "208", "837"),
];
/// Vertical, usual rate in cents an hour, titles, skills.
pub(super) const VERTICALS: [(&str, u32, [&str; 3], [&str; 6]); 6] = [
    (
        "logistics",
        2_150,
        ["forklift operator", "order picker", "dock lead"],
        ["forklift", "reach truck", "RF scanner", "cycle counting", "loading", "night shift"],
    ),
    (
        "healthcare",
        3_900,
        ["nursing assistant", "medical coder", "phlebotomist"],
        ["CPR", "charting", "venipuncture", "triage", "ICD-10", "patient transport"],
    ),
    (
        "manufacturing",
        2_480,
        ["machine operator", "assembler", "quality inspector"],
        ["CNC", "calipers", "lean", "soldering", "blueprints", "press brake"],
    ),
    (
        "hospitality",
        1_820,
        ["line cook", "banquet server", "front desk agent"],
        ["HACCP", "POS", "catering", "bar", "housekeeping", "events"],
    ),
    (
        "office",
        2_300,
        ["bookkeeper", "data entry clerk", "receptionist"],
        ["spreadsheets", "invoicing", "scheduling", "payroll", "filing", "CRM"],
    ),
    (
        "construction",
        2_950,
        ["carpenter", "electrician's helper", "site laborer"],
        ["framing", "conduit", "OSHA-10", "concrete", "scaffolding", "drywall"],
    ),
];
/// Status and how many of a hundred have it.
pub(super) const STATUSES: [(&str, u64); 5] =
    [("available", 46), ("placed", 31), ("interviewing", 13), ("inactive", 7), ("do_not_contact", 3)];
pub(super) const SHIFTS: [&str; 4] = ["first shift", "second shift", "nights", "weekends"];
pub(super) const TRAITS: [&str; 5] = [
    "never missed a shift",
    "trained six new hires",
    "kept the safety record clean",
    "covers for others at short notice",
    "works well alone",
];
pub(super) const DOMAINS: [&str; 3] = ["example.com", "example.net", "example.org"];
