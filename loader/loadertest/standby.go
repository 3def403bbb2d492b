//go:build unix

package loadertest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// Standby makes a server that follows s, by streaming from an address: that of s, or of a proxy in
// front of it. It has what s has when it returns, and answers read-only until it is promoted.
func (s *Server) Standby(ctx context.Context, from string) (*Server, error) {
	host, port, err := net.SplitHostPort(from)
	if err != nil {
		return nil, fmt.Errorf("reading the address of a primary: %w", err)
	}
	standby := &Server{bin: s.bin, options: s.options}
	return start(ctx, standby, func() error {
		label, err := s.backup(ctx, standby)
		if err != nil {
			return fmt.Errorf("copying a primary: %w", err)
		}
		return standby.follow(label, "host="+host+" port="+port+" user=postgres")
	})
}

// backup copies the files of a server that runs, and returns the label by which the copy is
// recovered. Not by pg_basebackup, which not every package of Postgres has
// (https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP).
func (s *Server) backup(ctx context.Context, to *Server) (label string, err error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres", "postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var version int
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::integer").Scan(&version); err != nil {
		return "", err
	}
	begin, end := "select pg_backup_start('standby', true)", "select labelfile from pg_backup_stop(false)"
	if version < 150000 {
		begin, end = "select pg_start_backup('standby', true, false)", "select labelfile from pg_stop_backup(false, false)"
	}
	if _, err := conn.Exec(ctx, begin); err != nil {
		return "", err
	}
	// Files come and go meanwhile, of which cp complains; recovery mends that.
	copied := exec.CommandContext(ctx, "/bin/sh", "-c", `umask 077; cp -pR "$0" "$1"; cd "$1" && rm -rf postmaster.pid postmaster.opts pg_replslot/* && test -e PG_VERSION`,
		filepath.Join(s.dir, "data"), filepath.Join(to.dir, "data"))
	copied.Stdout, copied.Stderr = to.log, to.log
	to.demote(copied)
	if err := copied.Run(); err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, end).Scan(&label)
	return label, err
}

// follow makes a copy of a server a standby of it.
func (s *Server) follow(label, primary string) error {
	for name, text := range map[string]string{"backup_label": label, "standby.signal": "", "postgresql.auto.conf": "primary_conninfo = '" + primary + "'\n"} {
		path := filepath.Join(s.dir, "data", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing a standby's files: %w", err)
		}
		if err := s.own(path); err != nil {
			return fmt.Errorf("writing a standby's files: %w", err)
		}
	}
	return nil
}
