package proof

import "time"

// listed bounds the ids that a report lists; its numbers count them all.
const listed = 1000

// Class is what a row of the export, or of the mirror, is found to be.
type Class string

// The classes. Every row of the export that is compared is of one of the first seven; the last is of
// rows that the mirror or loader_rejects have.
const (
	// Mirrored rows are in the mirror as they are in the export, Rejected ones in loader_rejects.
	Mirrored Class = "mirrored"
	Rejected Class = "rejected"
	// Forgotten rows are in the mirror as they are in the export, but for the identity of somebody who was forgotten.
	Forgotten Class = "forgotten"
	// Missing rows are in neither place, or in one of an interaction's two tables alone.
	Missing Class = "missing"
	// Changed rows are in the mirror with other values, or were delivered and are unfit now.
	Changed Class = "changed"
	// Doubled rows are in the mirror more than once, or rejected too.
	Doubled Class = "doubled"
	// SentAgain rows were sent under more than one messageId, for their occurred_at changed.
	SentAgain Class = "sent_again"
	// Gone rows are in the mirror or in loader_rejects, and no longer in the export, which is allowed.
	Gone Class = "gone"
)

// Report is the proof that export = mirror + rejects, or the difference.
type Report struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Verdict is proved, nothing to prove, or not proved.
	Verdict string `json:"verdict"`
	// Proved is true only if every row of the range up to the watermark is in the
	// mirror, with all of its values, or in loader_rejects; also if there is none.
	Proved bool `json:"proved"`
	// Quick says that ids, kinds and times alone were compared.
	Quick bool `json:"quick"`
	// UpTo is the watermark: what lies beyond it is pending.
	UpTo *time.Time `json:"up_to"`
	// Rows of the export = Mirrored + Rejected + Forgotten + those of the classes Missing, Changed, Doubled and SentAgain.
	Rows      int64 `json:"rows"`
	Mirrored  int64 `json:"mirrored"`
	Rejected  int64 `json:"rejected"`
	Forgotten int64 `json:"forgotten"`
	// Pending rows lie behind the watermark. Unreadable ones have no exported_at or no id.
	Pending    int64      `json:"pending"`
	Unreadable int64      `json:"unreadable"`
	Missing    Difference `json:"missing"`
	Changed    Difference `json:"changed"`
	Doubled    Difference `json:"doubled"`
	SentAgain  Difference `json:"sent_again"`
	Gone       Difference `json:"gone"`
	// Twice are ids that stand more than once in the export, 1,000 at most.
	Twice []string `json:"twice"`
	// Beyond counts rows of the mirror that belong to rows of the export beyond the
	// watermark, before start_at or inherited, which are not among Rows.
	Beyond int64 `json:"beyond"`
	// BeforeStart of them are before start_at, BeforeNamespace inherited; the others lie beyond the
	// watermark.
	BeforeStart     int64 `json:"before_start"`
	BeforeNamespace int64 `json:"before_namespace"`
	// Inherited counts rows of the export that are not among Rows, because the schema of which this one
	// is a copy sent them: those up to InheritedUpTo, nil if it is none.
	Inherited     int64      `json:"inherited"`
	InheritedUpTo *time.Time `json:"inherited_up_to"`
	// Days are those with rows of the classes from Missing to Gone.
	Days []Day `json:"days"`
	// ReadAs is the export's encoding if it is not UTF8: then its server can't make fingerprints, so the
	// rows were read and compared here, which is slower. Else "".
	ReadAs string `json:"read_as,omitempty"`
	// Seconds it took.
	Seconds float64 `json:"seconds"`
}

// The verdicts.
const (
	ProvedAll = "proved"
	Nothing   = "nothing to prove"
	NotProved = "not proved"
)

func (r *Report) conclude() {
	r.Proved = r.Missing.Rows == 0 && r.Changed.Rows == 0 && r.Doubled.Rows == 0 && r.SentAgain.Rows == 0 && r.Unreadable == 0 && len(r.Twice) == 0
	switch {
	case !r.Proved:
		r.Verdict = NotProved
	case r.Rows == 0:
		// Whatever the mirror holds: nothing was compared.
		r.Verdict = Nothing
	default:
		r.Verdict = ProvedAll
	}
}

// found counts what is found to be wrong, or allowed and named.
func (r *Report) found() int64 {
	return r.Missing.Rows + r.Changed.Rows + r.Doubled.Rows + r.SentAgain.Rows + r.Gone.Rows
}

// Unsettled counts rows of the mirror whose rows of the export lie beyond the watermark: they were sent, and a run reads them again.
func (r *Report) Unsettled() int64 { return r.Beyond - r.BeforeStart - r.BeforeNamespace }

// add counts a row, and names it and the columns that differ.
func (r *Report) add(class Class, id string, columns []string) {
	switch class {
	case Mirrored:
		r.Mirrored++
	case Rejected:
		r.Rejected++
	case Forgotten:
		r.Forgotten++
	case Missing:
		r.Missing.add(id, columns)
	case Changed:
		r.Changed.add(id, columns)
	case Doubled:
		r.Doubled.add(id, columns)
	case SentAgain:
		r.SentAgain.add(id, columns)
	case Gone:
		r.Gone.add(id, columns)
	}
}

// Difference counts rows of a class and lists the first of them, with the columns that differ.
type Difference struct {
	Rows    int64               `json:"rows"`
	IDs     []string            `json:"ids"`
	Columns map[string][]string `json:"columns,omitempty"`
}

func (d *Difference) add(id string, columns []string) {
	d.Rows++
	if len(d.IDs) >= listed {
		return
	}
	d.IDs = append(d.IDs, id)
	if len(columns) == 0 {
		return
	}
	if d.Columns == nil {
		d.Columns = map[string][]string{}
	}
	d.Columns[id] = columns
}

// Day is a day (UTC) and kind of which the export's rows are not those of
// mirror and rejects.
type Day struct {
	Day      string `json:"day"`
	Kind     string `json:"kind"`
	Rows     int64  `json:"rows"`
	Mirrored int64  `json:"mirrored"`
	Rejected int64  `json:"rejected"`
}

func newReport(nickname, schema string) *Report {
	// For machines: none is an empty list.
	none := func() Difference { return Difference{IDs: []string{}} }
	return &Report{Source: nickname, Schema: schema, Days: []Day{}, Twice: []string{}, Missing: none(), Changed: none(), Doubled: none(), SentAgain: none(), Gone: none()}
}
