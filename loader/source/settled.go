package source

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// Blindness is why a safe point says nothing about late rows, for people; "" if it does.
type Blindness string

// The ways to be blind that lie in the connection. Those that lie in what is read name it.
const (
	Replica     Blindness = "the export is read from a replica"
	NoStatsRole Blindness = "the role lacks pg_read_all_stats"
)

// LongOpen is from when on a transaction counts as open for long.
const LongOpen = time.Minute

// Session is a session of the export's database.
type Session struct {
	// PID is 0 if there is none.
	PID               int32
	Role, Application string
	// Since is when its transaction began.
	Since time.Time
}

// String names the session for people.
func (s Session) String() string {
	return fmt.Sprintf("pid %d, role %q, application %q, since %s", s.PID, s.Role, s.Application, s.Since.UTC().Format(time.RFC3339))
}

// End returns the statement that ends it.
func (s Session) End() string { return fmt.Sprintf("SELECT pg_terminate_backend(%d);", s.PID) }

// SafePoint says how far the export is settled: rows that commit after it was
// read have an exported_at at or beyond At.
type SafePoint struct {
	// At is the start of the oldest transaction that was open, and at most 10 s
	// before the server's clock.
	At time.Time
	// Clock is the server's clock.
	Clock time.Time
	// Oldest is the session of that transaction.
	Oldest Session
	// Prepared is the number of prepared transactions, which hide their start:
	// while there is one, the watermark must stay where it is.
	Prepared int64
	// PreparedGID is the name of the oldest of them.
	PreparedGID string
	// Visible is false where At says nothing about late rows, and lookback alone
	// has to catch them; Reason says why.
	Visible bool
	Reason  Blindness
	// Role is whom we are connected as.
	Role string
}

// LongHeld reports whether one transaction has kept the export from being settled for long.
func (p SafePoint) LongHeld() bool {
	return p.Oldest.PID != 0 && p.Clock.Sub(p.Oldest.Since) > LongOpen
}

// StatsGrant returns the statements that let the role see the transactions of others. It must not only be a member of
// pg_read_all_stats but inherit from it, which since Postgres 16 the membership says, and before said the role.
func (s *Source) StatsGrant(ctx context.Context) string {
	role := pgx.Identifier{s.reader.Role()}.Sanitize()
	row, err := ask(ctx, s, "looking for what the role inherits", queries.New().ExportInherits)
	switch {
	case err == nil && row.Version >= 160000:
		return "GRANT pg_read_all_stats TO " + role + " WITH INHERIT TRUE;"
	case err == nil && !row.Inherits:
		return "GRANT pg_read_all_stats TO " + role + "; ALTER ROLE " + role + " INHERIT;"
	}
	return "GRANT pg_read_all_stats TO " + role + ";"
}

// SafePoint reads the safe point. It holds for pages that the same server gives after it.
func (s *Source) SafePoint(ctx context.Context) (SafePoint, error) {
	row, err := ask(ctx, s, "reading the safe point", queries.New().ExportSafePoint)
	return s.safePoint(row), err
}

func (s *Source) safePoint(row queries.ExportSafePointRow) SafePoint {
	point := SafePoint{
		At: row.SafePoint, Clock: row.ServerClock, Prepared: row.Prepared, PreparedGID: row.PreparedGid, Role: row.Role,
	}
	if row.OldestPid != 0 {
		point.Oldest = Session{PID: row.OldestPid, Role: row.OldestRole, Application: row.OldestApplication, Since: row.OldestSince}
	}
	switch {
	case row.IsReplica:
		point.Reason = Replica
	case s.origin != "":
		point.Reason = s.origin
	case !row.SeesAll:
		point.Reason = NoStatsRole
	case row.UntrackedPid != 0:
		point.Reason = Blindness(fmt.Sprintf("a session of role %q (pid %d) hides its transactions (track_activities is off)", row.UntrackedRole, row.UntrackedPid))
	}
	point.Visible = point.Reason == ""
	return point
}

// comesFrom takes in what the export is made of, followed down to its tables, and says what about them keeps any
// safe point from telling of late rows.
func (t *Table) comesFrom(origins []queries.ExportOriginsRow) Blindness {
	if len(origins) == 0 {
		return ""
	}
	for _, o := range origins {
		if kind := map[string]string{"table": "r", "partitioned": "p"}[o.What]; kind != "" {
			t.behind = append(t.behind, relation{o.Name, kind})
		}
	}
	at := t.Columns[colExportedAt]
	switch reason := origin(origins[0]); {
	case reason == "" && !at.zoned():
		return Blindness(fmt.Sprintf("column %q (exported_at) is a timestamp without time zone", at.Name))
	default:
		return reason
	}
}

func origin(o queries.ExportOriginsRow) Blindness {
	name := o.Name
	switch o.What {
	case "table", "partitioned":
		return ""
	case "foreign":
		return Blindness(name + " is a foreign table")
	case "materialized":
		return Blindness(name + " is a materialized view")
	case "subscription":
		return Blindness(name + " gets its rows by a logical subscription, and their exported_at from another server")
	case "function":
		return Blindness("the export is a view over function " + name + ", which can't be looked into")
	case "rule":
		return Blindness(name + " has rules, which say where rows really go")
	case "zoneless":
		return Blindness(name + " makes times of what has no zone, and exported_at may be one of them")
	case "rounded":
		return Blindness(name + " rounds times, and exported_at may be one of them: it may lie before the beginning of its transaction")
	case "tracked":
		return "track_activities was switched on for the loader's role: for others it may be off, and then their sessions hide their transactions"
	case "nothing":
		return "there is no table behind the view"
	}
	if name == "" {
		return "track_activities is off, so sessions hide their transactions"
	}
	return Blindness("track_activities is off for role " + name + ", whose sessions hide their transactions")
}

// EndPrepared returns the statements of which one ends the oldest prepared transaction.
func (p SafePoint) EndPrepared() string {
	gid := strings.ReplaceAll(p.PreparedGID, "'", "''")
	return fmt.Sprintf("COMMIT PREPARED '%s';  or  ROLLBACK PREPARED '%[1]s';", gid)
}
