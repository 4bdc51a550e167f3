//! English, as far as Punkt has to know it, of the crate's own making.

/// Abbreviations after which a sentence usually goes on, in lower case and without the last full stop. Words that are words without
/// it too ("no.", "miss.") are left out, and so are "etc.", "e.g." and "i.e.", after which Punkt as trained on newspapers ends one.
pub const ABBREVIATIONS: &str = "
    mr mrs ms messrs mme mlle dr drs prof rev revd fr hon pres gov sen rep reps atty
    gen col maj capt cpt cmdr lt sgt cpl pvt adm brig jr sr esq st mt ft
    inc ltd corp co bros cos mfg assn dept univ est intl natl
    jan feb mar apr jun jul aug sep sept oct nov dec tue tues wed thu thur thurs fri
    ala ariz ark cal calif colo conn del fla ga ill ind kan kans ky la md mich minn mo mont neb nebr nev okla
    pa penn tenn tex va vt wash wis wyo ave blvd rd hwy
    vs v viz cf approx ca fig figs eq eqs sec chap vol vols pp ed eds trans repr
    oz lb lbs tsp tbsp yd yds sq cu hr hrs mins wk wks yr yrs mph tel
    u.s u.k u.n u.s.a u.s.s.r e.u d.c l.a n.y n.j n.c s.c n.h n.m n.d s.d w.va
    b.c a.d a.m p.m ph.d m.d b.a m.a b.s m.s m.b.a d.d.s ll.b
";

/// Words that often start a sentence and have a capital wherever they stand.
pub const STARTERS: &str = "i";

/// Words without a capital of their own: with one they start a sentence.
pub const SMALL: &str = "
    a an the this that these those some any many most much more few several all both each every either neither no none another other
    he she it we they you his her its our their your my him them us one someone everyone
    who whom whose which what when where why how while whenever wherever whether
    and or but nor so yet for if unless because since as although though than until once before after
    in on at by to from of with without within into onto over under above below between among through during about against around
    across along behind beside beyond despite except inside near outside per toward towards upon
    not never always often sometimes usually also too then thus hence therefore however moreover furthermore meanwhile nevertheless
    nonetheless instead indeed perhaps maybe finally first second third next last later now today soon still again only even just
    here there is are was were be been being am do does did done have has had having can could may might must shall should will would
    make makes made take takes took give gives given get gets use uses used using see let say says said go come know think want need
    according additionally besides consequently eventually generally initially otherwise overall similarly subsequently together
    yes please thank such like
";
