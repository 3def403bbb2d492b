package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// rules checks what one value alone does not tell, and fills in what follows from others.
func (d *decoder) rules(c *Config) {
	w := &c.Warehouse
	d.check("warehouse.url", checkPostgres(w.URL))
	d.check("warehouse.migrate_url", checkPostgres(w.MigrateURL))
	if w.MigrateURL == "" {
		w.MigrateURL = w.URL
	}
	for _, reader := range w.Readers {
		if slices.Contains([]string{"public", "none", "current_user", "current_role", "session_user", "user"}, strings.ToLower(reader)) {
			d.check("warehouse.readers", invalid("Name roles, for example analysts.  CREATE ROLE analysts;  GRANT analysts TO ...;", "%q is no role", reader))
		}
	}
	c.Segment.Endpoint = strings.TrimRight(c.Segment.Endpoint, "/")
	d.check("segment.endpoint", checkHost(c.Segment.Endpoint, trackingHost, ""))
	d.cdn(&c.Segment)
	for i, s := range c.Sources {
		path := itemPath("sources", i)
		d.source(path, s, w.URL)
		shared := false
		for _, other := range c.Sources[:i] {
			switch {
			case s.Nickname != "" && s.Nickname == other.Nickname:
				d.problem(path, "Give each source a nickname of its own.", "nickname %q is taken by the source in line %d", s.Nickname, other.Line)
			case s.Schema != "" && s.Schema == other.Schema:
				d.problem(path, "Set `schema:` in one of them.", "%q and %q (line %d) would share schema %q", s.Nickname, other.Nickname, other.Line, s.Schema)
			case !shared && s.doubles(other):
				shared = true
				d.problem(path, "Take one of them out, or give it the write key of a Segment source of its own.",
					"%q and %q (line %d) have one write key and one export, %s: each row would be sent twice", s.Nickname, other.Nickname, other.Line, s.Interactions.Table)
			}
		}
	}
	d.http(&c.HTTP)
	d.alerts(&c.Alerts)
}

// doubles reports whether two sources would send the same rows to the same source of Segment.
func (s *Source) doubles(other *Source) bool {
	return s.Nickname != "" && s.WriteKey != "" && s.WriteKey == other.WriteKey &&
		s.Interactions.Table == other.Interactions.Table && postgres.SameDatabase(s.Interactions.URL, other.Interactions.URL)
}

// cdn decides who is asked about write keys. A stand-in on this machine knows none of Segment's.
func (d *decoder) cdn(s *Segment) {
	s.CDN = strings.TrimRight(s.CDN, "/")
	endpoint, err := url.Parse(s.Endpoint)
	switch {
	case s.CDN == "none", s.CDN == "" && err == nil && loopback(endpoint.Hostname()):
		s.CDN = ""
	case s.CDN == "":
		s.CDN = cdnHost
	default:
		d.check("segment.cdn_endpoint", checkHost(s.CDN, cdnHost, ", or none: then nobody is asked whether Segment knows the write keys"))
	}
}

func (d *decoder) source(path string, s *Source, warehouse secret.URL) {
	d.check(path+".write_key", checkKey(s.WriteKey))
	if s.Schema != "" {
		d.check(path+".schema", checkSchema(s.Schema))
	} else if s.Nickname != "" {
		var err error
		if s.Schema, err = SchemaName(s.Nickname); err == nil && checkSchema(s.Schema) != nil {
			err = invalid("Add:  schema: <name>", "as a schema, %s", checkSchema(s.Schema))
		}
		d.check(path+".nickname", err)
	}
	if s.Interactions.URL == "" {
		s.Interactions.URL = warehouse
	} else {
		d.check(path+".interactions.url", checkPostgres(s.Interactions.URL))
	}
	if s.Interactions.Kinds.ByEventName && s.Interactions.Columns["kind"] != "" {
		d.check(path+".interactions.kinds", invalid("Remove one of them.", "is %s, beside a name for the column kind", byEventName))
	}
	for _, spelling := range s.Interactions.Kinds.View {
		if slices.Contains(s.Interactions.Kinds.Interaction, spelling) {
			d.check(path+".interactions.kinds.interaction", invalid("Remove it from one of them.", "%q means both view and interaction", spelling))
		}
	}
}

func (d *decoder) http(h *HTTP) {
	if _, _, err := net.SplitHostPort(h.Listen); err != nil {
		d.check("http.listen", invalid("For example 127.0.0.1:8321", "%q: expected HOST:PORT", h.Listen))
	}
	user, password := d.lines["http.user"] > 0, d.lines["http.password_file"] > 0
	switch {
	case strings.Contains(h.User, ":"):
		d.check("http.user", invalid("Choose a name without a colon (RFC 7617).", "%q has a colon", h.User))
	case user && !password:
		d.check("http.user", invalid("Add:  password_file: /run/secrets/candu-loader-http", "is set without password_file"))
	case password && !user:
		d.check("http.password", invalid("Add:  user: operator", "is set without user"))
	case user && h.User == "":
		d.check("http.user", invalid("Write a name, or remove user and password_file.", "is empty"))
	}
}

// alerts checks URLs that may hold tokens, so they are not repeated.
func (d *decoder) alerts(a *Alerts) {
	a.URLs = slices.DeleteFunc(a.URLs, func(s secret.String) bool { return s == "" })
	for _, service := range a.URLs {
		if u, err := url.Parse(service.Reveal()); err != nil || u.Scheme == "" {
			d.check("alerts.urls", invalid("For example slack://hook:...@webhook or generic+https://example.com/hook; docs/configuration.md has more.",
				"one is not a URL of a service"))
		}
	}
	if u, err := url.Parse(a.PingURL.Reveal()); a.PingURL != "" && (err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "") {
		d.check("alerts.ping_url", invalid("For example https://hc-ping.com/<uuid>", "is not an http or https URL"))
	}
}

// checkPostgres refuses what no driver would take, or take for something else. Files that are missing are another
// machine's, perhaps.
func checkPostgres(u secret.URL) error {
	if u == "" {
		return nil
	}
	_, err := postgres.CheckURL(u, false)
	return err
}

// checkHost allows Segment's own host and loopback. Candu is a source of
// Segment's US region alone: the EU endpoint answers 200 and drops the events
// (https://segment.com/docs/guides/regional-segment/).
//
// The remedy ends with also.
func checkHost(endpoint, only, also string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return invalid("Write "+only+also, "%q is not a URL of scheme and host", endpoint)
	case strings.HasSuffix(u.Hostname(), "segmentapis.com"):
		return invalid("Write "+only+also, "%q is Segment's EU endpoint; Candu is a source of the US region, the events would be dropped", endpoint)
	case u.Path != "" || u.RawQuery != "":
		return invalid(fmt.Sprintf("Write %s://%s; the path is added.", u.Scheme, u.Host), "%q has a path, expected scheme and host alone", endpoint)
	case endpoint != only && !loopback(u.Hostname()):
		return invalid("Write "+only+also, "%q is neither Segment's host nor this machine", endpoint)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
