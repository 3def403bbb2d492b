// Package proof compares the export with mirror and rejects: every row of the export is in
// exactly one of the two places, or it is named.
package proof

import (
	"cmp"
	"context"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// dayKind is a day and kind, of which each side has a fingerprint.
type dayKind struct{ day, kind string }

// side is a fingerprint of rows: how many, what stands for their values, and for the columns that an
// interaction's two tables share. wrong of them are not as every row must be.
type side struct {
	rows, wrong int64
	sum, common big.Int
}

// sides are what the export has of a day and kind, what was rejected, and what the mirror's tables have.
type sides struct{ exported, rejected, mirrored, tracks side }

// verifier is one verification.
type verifier struct {
	Config

	report *Report
	days   map[dayKind]*sides
	// walked are the days that are compared row by row.
	walked     map[string]bool
	hasRejects bool
	// adding is held by whoever adds to days: all sides are read at once.
	adding sync.Mutex
}

// Config says what is compared.
type Config struct {
	// Source and Schema name what is verified.
	Source, Schema string
	Ledger         *ledger.Ledger
	Export         *source.Source
	// Prints are how fingerprints are made; Rules make events of rows, whose verdict alone counts.
	Prints source.Prints
	Rules  *event.Rules
	// State is where the source stands. It must have been read before Range was made.
	State ledger.State
	// Range is what is verified, up to the watermark.
	Range source.Range
}

// Verify compares export and mirror day by day, in both databases at once, and
// names the rows by which they differ. It writes nothing.
func Verify(ctx context.Context, c Config) (Report, error) {
	started := time.Now()
	v := &verifier{Config: c, report: newReport(c.Source, c.Schema), days: map[dayKind]*sides{}, walked: map[string]bool{}}
	report := v.report
	report.UpTo, report.Quick = c.State.WatermarkAt, c.Prints.Quick
	if !c.Export.Table().Prints() {
		report.ReadAs = c.Export.Table().Encoding()
	}
	v.Range.ExportedFrom = c.State.StartAt
	var err error
	if report.Pending, err = c.Export.Beyond(ctx, v.Range); err != nil {
		return *report, err
	}
	if report.InheritedUpTo = c.State.NamespaceSince; report.InheritedUpTo != nil {
		inherited := v.Range
		inherited.UpTo, inherited.After = inherited.After, source.Cursor{}
		if report.Inherited, err = c.Export.Within(ctx, inherited); err != nil {
			return *report, err
		}
	}
	if err := v.unreadable(ctx); err != nil {
		return *report, err
	}
	if !v.Range.UpTo.IsZero() {
		if err := v.compare(ctx); err != nil {
			return *report, err
		}
	}
	report.conclude()
	report.Seconds = time.Since(started).Seconds()
	return *report, nil
}

// unreadable finds the rows of the export that can't be in one place: those that no page holds, and those
// that share an id.
func (v *verifier) unreadable(ctx context.Context) error {
	withoutTime, err1 := v.Export.Unreadable(ctx)
	withoutID, err2 := v.Export.WithoutID(ctx, source.Cursor{})
	twice, err3 := v.Export.Twice(ctx, source.Cursor{})
	v.report.Unreadable, v.report.Twice = withoutTime+withoutID, append(v.report.Twice, twice...)
	return cmp.Or(err1, err2, err3)
}

// fingerprints reads those of all sides at once.
func (v *verifier) fingerprints(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return v.Export.Fingerprints(ctx, v.Range, v.Prints, func(list []source.Fingerprint) {
			for _, f := range list {
				v.add(f.Day, f.Kind, func(s *sides) { s.exported.add(f.Rows, 0, f.Sum, "0") })
			}
		})
	})
	for table, kind := range map[ledger.MirrorTable]string{ledger.Screens: "view", ledger.Interactions: "interaction", ledger.Tracks: "interaction"} {
		group.Go(func() error {
			return v.Ledger.Fingerprints(ctx, table, v.mirrorPrints(v.Range), func(list []ledger.Fingerprint) {
				for _, f := range list {
					v.add(f.Day, kind, func(s *sides) {
						to := &s.mirrored
						if table == ledger.Tracks {
							to = &s.tracks
						}
						to.add(f.Rows, f.Wrong, f.Sum, f.Common)
					})
				}
			})
		})
	}
	group.Go(func() error { return v.addRejects(ctx) })
	return group.Wait()
}

// mirrorPrints are how fingerprints of the mirror are made, for a range.
func (v *verifier) mirrorPrints(r source.Range) ledger.Prints {
	return ledger.Prints{From: r.From, To: r.To, NoDay: r.NoDay, Quick: v.Prints.Quick, Namespace: v.State.MessageNamespace}
}

func (v *verifier) compare(ctx context.Context) error {
	if err := v.fingerprints(ctx); err != nil {
		return err
	}
	report := v.report
	for key, s := range v.days {
		if s.match(key.kind) {
			continue
		}
		report.Days = append(report.Days, Day{key.day, key.kind, s.exported.rows, s.mirroredRows(key.kind), s.rejected.rows})
		v.walked[key.day] = true
	}
	for key, s := range v.days {
		if v.walked[key.day] {
			continue // Its rows are counted one by one.
		}
		report.Rows += s.exported.rows
		report.Rejected += s.rejected.rows
		report.Mirrored += s.exported.rows - s.rejected.rows
	}
	slices.SortFunc(report.Days, func(a, b Day) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Kind, b.Kind)) })
	gone, err := v.goneRejects(ctx, v.walked)
	if err != nil {
		return err
	}
	for _, day := range slices.Sorted(maps.Keys(v.walked)) {
		before := report.found()
		if err := v.day(ctx, day); err != nil {
			return err
		}
		if report.found() == before && !gone[day] {
			// Every row of it is accounted for, if not where the fingerprints look.
			report.Days = slices.DeleteFunc(report.Days, func(d Day) bool { return d.Day == day })
		}
	}
	return nil
}

// add adds to the sides of a day and kind, empty ones at first.
func (v *verifier) add(day, kind string, to func(*sides)) {
	v.adding.Lock()
	defer v.adding.Unlock()
	key := dayKind{day, kind}
	if v.days[key] == nil {
		v.days[key] = &sides{}
	}
	to(v.days[key])
}

func (p *side) add(rows, wrong int64, sum, common string) {
	p.rows += rows
	p.wrong += wrong
	for to, text := range map[*big.Int]string{&p.sum: sum, &p.common: common} {
		part, _ := new(big.Int).SetString(text, 10) // Postgres prints whole numbers.
		to.Add(to, part)
	}
}

// mirroredRows is how many rows the mirror has.
func (s *sides) mirroredRows(kind string) int64 {
	if kind == "interaction" {
		return s.tracks.rows
	}
	return s.mirrored.rows
}

// match reports whether the export's rows are those of mirror and rejects together, and the
// interactions stand in both tables.
func (s *sides) match(kind string) bool {
	if kind == "interaction" && (s.mirrored.rows != s.tracks.rows || s.mirrored.common.Cmp(&s.tracks.common) != 0) {
		return false
	}
	sum := new(big.Int).Add(&s.mirrored.sum, &s.rejected.sum)
	return s.mirrored.wrong == 0 && s.exported.rows == s.mirrored.rows+s.rejected.rows && s.exported.sum.Cmp(sum) == 0
}
