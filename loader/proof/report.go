package proof

import "time"

// listed bounds the ids that a report lists; its numbers count them all.
const listed = 1000

// Report is the proof that export = mirror + rejects, or the difference.
type Report struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Proved is true only if every row of the range up to the watermark is in the
	// mirror, with its kind and time, or in loader_rejects.
	Proved bool `json:"proved"`
	// UpTo is the watermark: what lies beyond it is pending.
	UpTo *time.Time `json:"up_to"`
	// Rows of the export, Mirrored of the mirror, Rejected of loader_rejects.
	Rows     int64 `json:"rows"`
	Mirrored int64 `json:"mirrored"`
	Rejected int64 `json:"rejected"`
	// Pending rows lie behind the watermark. Unreadable ones have no exported_at or no id.
	Pending    int64 `json:"pending"`
	Unreadable int64 `json:"unreadable"`
	// Missing are in neither place. Different are mirrored with another kind or
	// time, or in tracks and not in tutorial_interaction. Doubled are in the mirror
	// twice, or rejected too. Unexpected are in the mirror or in loader_rejects and gone
	// from the export, which is allowed.
	Missing    Difference `json:"missing"`
	Different  Difference `json:"different"`
	Doubled    Difference `json:"doubled"`
	Unexpected Difference `json:"unexpected"`
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
	// Days are those with rows that are missing, different, doubled or unexpected.
	Days []Day `json:"days"`
	// ReadAs is the export's encoding if it is not UTF8: then its server can't make fingerprints, so the
	// rows were read and compared here, which is slower. Else "".
	ReadAs string `json:"read_as,omitempty"`
	// Seconds it took.
	Seconds float64 `json:"seconds"`
}

func (r *Report) found() int64 {
	return r.Missing.Rows + r.Different.Rows + r.Doubled.Rows + r.Unexpected.Rows
}

// Difference counts rows and lists the first of them.
type Difference struct {
	Rows int64    `json:"rows"`
	IDs  []string `json:"ids"`
}

func (d *Difference) add(id string) {
	d.Rows++
	if len(d.IDs) < listed {
		d.IDs = append(d.IDs, id)
	}
}

// Day is a day (UTC) and kind of which the export's ids are not those of
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
	return &Report{Source: nickname, Schema: schema, Days: []Day{}, Twice: []string{}, Missing: none(), Different: none(), Doubled: none(), Unexpected: none()}
}
