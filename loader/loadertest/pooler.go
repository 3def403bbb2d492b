//go:build unix

package loadertest

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Pooler stands in front of a database as a pooler in session mode does, and treats start-up
// parameters as PgBouncer does: those that it knows reach the server, of all others it drops those in
// Drops, and refuses the rest.
type Pooler struct {
	Drops []string
	// DropsAll drops whatever it does not know.
	DropsAll bool
	// Knows are the parameters that reach the server.
	Knows []string
}

// Tracked is what PgBouncer knows.
var Tracked = []string{"client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}

// Start starts the pooler for one test, and returns the database's URL through it.
func (p Pooler) Start(tb testing.TB, database string) string {
	tb.Helper()
	server, err := pgx.ParseConfig(database)
	check(tb, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = client.Close() }()
				_ = p.serve(client, &server.Config) // Whoever connects sees it.
			}()
		}
	}()
	through := url.URL{Scheme: "postgres", User: url.User(server.User), Host: listener.Addr().String(), Path: "/" + server.Database, RawQuery: "sslmode=disable"}
	return through.String()
}

func (p Pooler) serve(client net.Conn, to *pgconn.Config) error {
	network, address := pgconn.NetworkAddress(to.Host, to.Port)
	server, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	back := pgproto3.NewBackend(client, client)
	message, err := back.ReceiveStartupMessage()
	if err != nil {
		return err
	}
	if start, ok := message.(*pgproto3.StartupMessage); ok {
		for name := range start.Parameters {
			switch known := func(list []string) bool { return slices.Contains(list, strings.ToLower(name)) }; {
			case name == "user" || name == "database" || known(p.Knows):
			case p.DropsAll || known(p.Drops):
				delete(start.Parameters, name)
			default:
				back.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
				return back.Flush()
			}
		}
	}
	front := pgproto3.NewFrontend(server, server)
	front.Send(message)
	if err := front.Flush(); err != nil {
		return fmt.Errorf("passing the start on: %w", err)
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, err = io.Copy(client, server)
	return err
}
