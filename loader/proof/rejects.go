package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// addRejects adds the rejects to their days, as they were when they were rejected.
func (v *verifier) addRejects(ctx context.Context) error {
	return v.eachReject(ctx, func(page []rejectOfDay) error {
		for _, reject := range page {
			v.add(reject.day, reject.kind, func(s *sides) { s.rejected.add(1, 0, strconv.FormatInt(reject.sum, 10), "0") })
			v.hasRejects = true
		}
		return nil
	})
}

// rejectOfDay is a reject of the range as the fingerprints see it.
type rejectOfDay struct {
	dayKind

	id  string
	sum int64
}

// eachReject passes the rejects of the range, some at a time: their rows may be wide.
func (v *verifier) eachReject(ctx context.Context, do func([]rejectOfDay) error) error {
	for page, err := range v.Ledger.AllRejects(ctx, "") {
		if err != nil {
			return err
		}
		var in []rejectOfDay
		for _, reject := range page {
			if r, ok := v.ofDay(reject); ok {
				in = append(in, r)
			}
		}
		if err := do(in); err != nil {
			return err
		}
	}
	return nil
}

// ofDay returns the day, kind and fingerprint of a reject, and whether it lies in the range.
func (v *verifier) ofDay(reject ledger.Reject) (rejectOfDay, bool) {
	// What can't be read matches no day, and is looked at row by row.
	row := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(reject.Interaction))
	decoder.UseNumber()
	_ = decoder.Decode(&row)
	text := func(column string) string {
		switch value := row[column].(type) {
		case string:
			return value
		case json.Number:
			return value.String()
		}
		return ""
	}
	in := event.Interaction{
		ID: reject.InteractionID, Kind: text("kind"), UserID: text("user_id"), AnonymousID: text("anonymous_id"), TutorialID: text("tutorial_id"),
		SegmentID: text("segment_id"), PortalID: text("portal_id"), VersionID: text("version_id"), EventName: text("event_name"), OccurredAt: moment(row["occurred_at"]),
	}
	key := rejectOfDay{id: in.ID}
	key.day, key.kind = source.DayOf(in.OccurredAt), v.Export.Table().KindOf(&in, v.Prints)
	key.sum = v.Prints.Sum(key.kind, &in)
	if key.day == "" {
		return key, v.inRange(time.Time{})
	}
	return key, v.inRange(in.OccurredAt)
}

// goneRejects names the rejects of days that are gone from the export, and returns
// their days.
func (v *verifier) goneRejects(ctx context.Context, days map[string]bool) (map[string]bool, error) {
	gone := map[string]bool{}
	if len(days) == 0 {
		return gone, nil
	}
	err := v.eachReject(ctx, func(page []rejectOfDay) error {
		day := map[string]string{}
		for _, reject := range page {
			if days[reject.day] {
				day[reject.id] = reject.day
			}
		}
		if len(day) == 0 {
			return nil
		}
		there, err := v.Export.ByID(ctx, slices.Collect(maps.Keys(day)))
		if err != nil {
			return err
		}
		for i := range there.Rows {
			delete(day, there.Rows[i].ID)
		}
		for _, id := range slices.Sorted(maps.Keys(day)) {
			v.report.Gone.add(id, nil)
			gone[day[id]] = true
		}
		return nil
	})
	return gone, err
}
