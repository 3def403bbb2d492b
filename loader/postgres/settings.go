package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// setting is one that a connection relies on, whatever role, database, URL or environment say.
type setting struct{ name, value string }

// wishes are what a connection asks for. On a direct connection they are the session's, asked for at
// start-up, which costs nothing afterwards. A pooler may refuse them, or accept and drop them; that is
// read back once a connection. Then each transaction begins by setting them.
type wishes struct {
	// asked for at start-up.
	asked []setting
	// later is set for the session once the others are known to have arrived: what older servers
	// don't know, and what must not hold yet while the connection is being chosen.
	later []setting
	// mark arrives only where start-up parameters do; the others might hold by chance.
	mark     setting
	readOnly bool
}

// pause is how long a transaction waits for its next statement, unless it says something else.
const pause = time.Minute

// outsideOnly are the settings that mean nothing within a transaction.
var outsideOnly = []string{"default_transaction_isolation", "default_transaction_read_only", "idle_session_timeout", checkInterval}

func wishesOf(opts Options) *wishes {
	w := &wishes{
		readOnly: opts.ReadOnly,
		mark:     setting{"candu_loader.connection", rand.Text()},
		asked: []setting{
			// Definitions are compared as the server prints them, the path too.
			{"quote_all_identifiers", "off"},
			{"search_path", Path(opts.SearchPath...)},
			// A policy that would hide rows is an error.
			{"row_security", "off"},
			{"client_encoding", UTF8},
			{"datestyle", "ISO"},
			{"timezone", "UTC"},
			{"standard_conforming_strings", "on"},
			// How values are printed: a float in full, for ids of more digits would become one, and what a view
			// makes a text of always the same.
			{"extra_float_digits", "1"},
			{"intervalstyle", "postgres"},
			{"bytea_output", "hex"},
			{"xmlbinary", "base64"},
			// Statements on the catalog look dearer than they are: to compile one took ten times as long as to run it.
			{"jit", "off"},
			{"statement_timeout", amount(opts.StatementTimeout)},
			{"lock_timeout", "0"},
			{"idle_in_transaction_session_timeout", amount(pause)},
			// Each statement sees what was committed before it: a page must not be older than its
			// safe point, and what a lock was waited for has to be seen.
			{"default_transaction_isolation", "read committed"},
			// While a server is chosen (target_session_attrs) this would be taken for what it can do.
			{"default_transaction_read_only", "off"},
		},
		later: []setting{
			{"transaction_timeout", "0"},               // Postgres 17
			{"idle_session_timeout", "0"},              // 14
			{checkInterval, keepalives[checkInterval]}, // 14
		},
	}
	if opts.ReadOnly {
		w.later = append(w.later, setting{"default_transaction_read_only", "on"})
	}
	return w
}

// connect connects by a configuration, which is left as it was last tried.
func (w *wishes) connect(config *pgx.ConnConfig, connect func() error) error {
	plain := config.RuntimeParams
	if isSet(plain, checkInterval) {
		w.later = slices.DeleteFunc(w.later, func(s setting) bool { return s.name == checkInterval })
	}
	for _, s := range w.asked {
		// Names are the same in capitals, and of two of them either might come last.
		maps.DeleteFunc(plain, func(name, _ string) bool { return strings.EqualFold(name, s.name) })
	}
	config.RuntimeParams = maps.Clone(plain)
	for name, value := range keepalives {
		if !isSet(plain, name) && name != checkInterval {
			config.RuntimeParams[name] = value
		}
	}
	for _, s := range append(w.asked, w.mark) {
		config.RuntimeParams[s.name] = s.value
	}
	err := connect()
	if Code(err) == "22023" {
		// Not every system can look whether a connection is still there while it works.
		w.later = slices.DeleteFunc(w.later, func(s setting) bool { return s.name == checkInterval })
		err = connect()
	}
	for range 2 * len(limits) {
		// It is so short that the connection ended before it was lifted; so the server knows it. Which one
		// it was can't be read where we were writing as it ended.
		name := limits[Code(err)]
		if name != "" {
			config.RuntimeParams[name] = "0"
		} else if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		err = connect()
	}
	if RefusesParameter(err) {
		config.RuntimeParams = plain
		err = connect()
	}
	return err
}

// limits are those that end a connection by themselves, by the SQLSTATE with which they do.
var limits = map[string]string{"25P04": "transaction_timeout", "57P05": "idle_session_timeout"}

func isSet(params map[string]string, name string) bool {
	for key := range params {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// settle says whether what was asked for at start-up has arrived, by names and values ($1, $2), and if
// it has, sets the rest of what the server knows ($3, $4). It may run with anybody's search_path, so
// that no name in it is looked for there; unnest of several arrays is a part of the grammar.
const settle = `select h.held, pg_catalog.pg_is_in_recovery(), l.name, case when h.held and l.name is not null then pg_catalog.set_config(l.name, l.value, false) end
from (
	select pg_catalog.bool_and(coalesce(
		case when a.name operator(pg_catalog.=) 'datestyle' then pg_catalog.split_part(n.value, ',', 1) else n.value end
			operator(pg_catalog.=) a.value, false)) as held
	from unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) as a (name, value)
	cross join lateral (select pg_catalog.current_setting(a.name, true) as value) as n
) as h
left join unnest($3::pg_catalog.text[], $4::pg_catalog.text[]) as l (name, value) on pg_catalog.current_setting(l.name, true) is not null`

// settle reads back what was asked for, and notes in the connection how its transactions begin.
func (w *wishes) settle(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	later := w.later
	encoding, err := encodingOf(ctx, conn)
	if err != nil {
		return err
	}
	if encoding == SQLASCII {
		// There Postgres converts nothing, and refuses each text that is not in the client's.
		later = append(slices.Clone(later), setting{"client_encoding", SQLASCII})
	}
	names, values := columns(append(slices.Clone(w.asked), w.mark))
	laterNames, laterValues := columns(later)
	rows, _ := conn.Query(ctx, settle, pgx.QueryExecModeExec, names, values, laterNames, laterValues) // CollectRows returns its error.
	held, recovering, known := false, false, []string(nil)
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var name, now *string
		err := row.Scan(&held, &recovering, &name, &now)
		if name != nil {
			known = append(known, *name)
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("reading the connection's settings back: %w", err)
	}
	if !held {
		var begin strings.Builder
		begin.WriteString("begin isolation level read committed")
		switch {
		case w.readOnly:
			begin.WriteString(" read only")
		case !recovering: // There it would be an error, and what is asked is answered all the same.
			begin.WriteString(" read write")
		}
		for _, s := range append(slices.Clone(w.asked), later...) {
			unknown := slices.Contains(w.later, s) && !slices.Contains(known, s.name)
			if !unknown && !slices.Contains(outsideOnly, s.name) {
				begin.WriteString("; set local " + s.name + " = " + s.literal())
			}
		}
		conn.PgConn().CustomData()[beginKey] = begin.String()
	}
	return nil
}

func columns(settings []setting) (names, values []string) {
	for _, s := range settings {
		names, values = append(names, s.name), append(values, s.value)
	}
	return names, values
}

// literal is the value as SET takes it: a path is a list of names.
func (s setting) literal() string {
	if s.name == "search_path" {
		return s.value
	}
	return "'" + strings.ReplaceAll(s.value, "'", "''") + "'"
}

const beginKey = "candu-loader begin"

// begin is how a transaction on the connection begins, and whether a pooler stands in between.
func begin(conn *pgconn.PgConn) (statement string, pooled bool) {
	if statement, pooled := conn.CustomData()[beginKey].(string); pooled {
		return statement, true
	}
	return "begin", false
}

// amount writes a duration as Postgres shows it: in the largest unit that divides it.
func amount(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}} {
		if d > 0 && d%unit.of == 0 {
			return strconv.FormatInt(int64(d/unit.of), 10) + unit.name
		}
	}
	if d == 0 {
		return "0"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// Path is a search_path of exactly these schemas; tables of the session come last. Without a schema it
// is Postgres' own.
func Path(schemas ...string) string {
	if len(schemas) == 0 {
		return "pg_catalog"
	}
	var b strings.Builder
	for _, schema := range schemas {
		b.WriteString(pgx.Identifier{schema}.Sanitize() + ", ")
	}
	return b.String() + "pg_temp"
}
