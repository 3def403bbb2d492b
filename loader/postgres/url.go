package postgres

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/secret"
)

const (
	form    = "Expected postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full"
	special = "Special characters in user and password must be percent-encoded: @ is %40, / is %2F, : is %3A, # is %23, ? is %3F, % is %25, a blank is %20."
	quotes  = "In a text of keywords, host=... dbname=..., a value with blanks stands in single quotes."
)

// ignored are libpq's parameters that the driver lacks. It would send them as settings, which the
// server refuses.
var ignored = strings.Fields(`keepalives keepalives_idle keepalives_interval keepalives_count gssencmode gsslib gssdelegation sslcompression
	sslcrl sslcrldir sslkeylogfile ssl_min_protocol_version ssl_max_protocol_version requiressl requirepeer fallback_application_name
	load_balance_hosts authtype tty scram_client_key scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope`)

// foreign are parameters of other drivers, frameworks and poolers, in lower case.
var foreign = strings.Fields(`schema currentschema current_schema pgbouncer connection_limit pool_timeout pool pool_size max_overflow pool_mode poolsize
	pool_max_conns pool_min_conns pool_min_idle_conns pool_max_conn_lifetime pool_max_conn_idle_time pool_health_check_period
	pool_max_conn_lifetime_jitter pool_ping_timeout default_query_exec_mode statement_cache_capacity description_cache_capacity
	statement_cache_mode statement_cache_size prepared_statement_cache_size prepared_statements prepare_threshold preparethreshold
	sslaccept sslidentity sslfactory ssl sslinline uselibpqcompat sslcertificate usessl socket_timeout sockettimeout connecttimeout logintimeout
	tcpkeepalive applicationname rewritebatchedinserts stringtype targetservertype loadbalancehosts readonly binarytransfer binary_parameters
	reconnect pooling encoding charset driver async_fallback async_creator_fn plugin serverversion disable_prepared_binary_result
	fallback_to_simple_protocol prefer_simple_protocol hostaddr replication retry maxpoolsize minpoolsize timeout commandtimeout
	trustservercertificate channelbinding autocommit dialect family`)

// CheckURL says what is wrong with a URL or keyword/value text, with the remedy, and which of its
// parameters have no effect here. What depends on this machine's files counts if here is true. Nothing of
// the text is repeated but names of parameters that are known. Where the driver has no words of its own for
// what is wrong, it is left to the connecting.
func CheckURL(u secret.URL, here bool) (without []string, err error) {
	text := u.Reveal()
	if err := checkForm(text); err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(text)
	if err != nil {
		if said, files := parsing(err); here || !files {
			return nil, said
		}
		return nil, nil
	}
	if err := plausible(config); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(config.RuntimeParams)) {
		switch lower := strings.ToLower(name); {
		case slices.Contains(foreign, lower):
			return nil, unfit("Take it out of the URL."+instead[lower], "parameter %q is none of Postgres'", lower)
		case slices.Contains(ignored, lower):
			without = append(without, lower)
		}
	}
	return without, nil
}

var (
	hostName      = regexp.MustCompile(`^[\pL\pN._:%-]*$`)
	parameterName = regexp.MustCompile(`^[A-Za-z0-9_.$-]+$`)
)

// plausible refuses what the driver understands as a host, or as the name of a parameter, and that can be none: it
// may be a part of the password.
func plausible(config *pgconn.Config) error {
	hosts := []string{config.Host}
	for _, f := range config.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	if slices.ContainsFunc(hosts, func(host string) bool { return !strings.HasPrefix(host, "/") && !hostName.MatchString(host) }) {
		return unfit(special+" "+quotes, "has no host's name in place of the host, perhaps a part of the password")
	}
	for name := range config.RuntimeParams {
		if !parameterName.MatchString(name) {
			return unfit(special+" "+quotes, "has a parameter whose name is none, perhaps a part of the password")
		}
	}
	return nil
}

// instead is how what some parameters ask for is written here.
var instead = map[string]string{
	"schema": " The schema of the export's table is a part of interactions.table.", "currentschema": " The schema of the export's table is a part of interactions.table.",
	"pgbouncer": " A pooler is noticed.", "ssl": " Write sslmode=verify-full.", "sslaccept": " Write sslmode=require or sslmode=verify-full.",
	"hostaddr": " Write the address as the host.", "replication": " A plain connection is needed.",
}

// tidy takes what has no effect out of what is sent at start-up.
func tidy(params map[string]string) {
	for name := range params {
		if slices.Contains(ignored, strings.ToLower(name)) {
			delete(params, name)
		}
	}
}

func unfit(hint, format string, args ...any) error {
	return fault.New(fault.Config, format, args...).WithHint("%s", hint)
}

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):`)

// holdsAt are the parameters whose value may have an @ in it.
var holdsAt = []string{"user", "password", "sslpassword", "application_name", "options"}

// stray reports whether a URL, without its scheme, has a second @, or an @ or # behind the host: then the password
// has an @ or / or ? or # in it, and a half of it stands in place of the host.
func stray(rest string) bool {
	begin := strings.IndexAny(rest, "/?#")
	if begin < 0 {
		begin = len(rest)
	}
	ats := strings.Count(rest[:begin], "@")
	if ats > 1 || begin == len(rest) {
		return ats > 1
	}
	path, query, _ := strings.Cut(rest[begin:], "?")
	if strings.ContainsAny(path, "@#") || strings.Contains(query, "#") {
		return true
	}
	return slices.ContainsFunc(strings.Split(query, "&"), func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		_, behind, has := strings.Cut(value, "@")
		return strings.Contains(name, "@") || has && (!slices.Contains(holdsAt, name) || ats == 0 && strings.Contains(behind, "/"))
	})
}

// checkForm finds what the driver would take for something else, or refuse without saying why.
func checkForm(text string) error {
	rest, isURL := strings.CutPrefix(text, "postgres://")
	if !isURL {
		rest, isURL = strings.CutPrefix(text, "postgresql://")
	}
	found := scheme.FindStringSubmatch(text)
	switch {
	case isURL && strings.ContainsFunc(text, unicode.IsControl):
		return unfit("A variable in it may end with a line end, or the file may hold two lines.", "has a line end or another control character in it")
	case isURL && stray(rest):
		return unfit(special, "has a second @, or an @ or # behind its host, so that a part of the password may stand in place of the host")
	case isURL:
		return nil
	case strings.HasPrefix(text, "psql "):
		return unfit("Leave out psql and the quotes around what follows.", "begins with the command psql")
	case found != nil:
		switch name := strings.ToLower(found[1]); {
		case name == "jdbc":
			return unfit(form+"; user and password stand before the host.", "is a JDBC URL, expected a Postgres URL")
		case strings.Contains(name, "+"):
			return unfit("Leave out the plus sign and what stands behind it. "+form, "names a driver of another language")
		case name == "postgres" || name == "postgresql":
			return unfit(form, "is not a Postgres URL: it begins with postgres://, in lower case")
		}
		return unfit("For example postgres://loader@db.example.com/warehouse", "is not a Postgres URL")
	case text != "" && !strings.Contains(text, "="):
		return unfit("For example postgres://loader@db.example.com/warehouse", "is not a Postgres URL")
	}
	return nil
}

// parsing says in our own words what the driver does not take, for its words quote the text. files is
// true if it depends on this machine.
func parsing(err error) (said error, files bool) {
	text := err.Error()
	text = text[strings.LastIndex(text, "`: ")+1:] // What stands before is the text.
	_, missing := errors.AsType[*fs.PathError](err)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
	}
	for word, name := range map[string]string{"unable to read CA file": "sslrootcert", "unable to read sslkey": "sslkey", "unable to read cert": "sslcert"} {
		if has(word) && missing {
			return unfit("Look at its path, seen from this machine or container, and at the rights of the loader's user.", "the file of parameter %q can't be read: %s", name, reason(err)), true
		}
	}
	switch {
	case has("sslmode is invalid"):
		return unfit("Write sslmode=verify-full, verify-ca, require or disable.", `parameter "sslmode" has an unknown value`), false
	case has(`both "sslcert" and "sslkey"`):
		return unfit("Write both, or none.", `of the parameters "sslcert" and "sslkey" one is missing`), false
	case has("unable to add CA"):
		return unfit("It must be PEM: -----BEGIN CERTIFICATE-----", `the file of parameter "sslrootcert" holds no certificate`), true
	case has("decode sslkey", "unable to load cert"):
		return unfit("Both must be PEM, and belong to one another.", `the files of the parameters "sslcert" and "sslkey" are no certificate and its key`), true
	case has("sslpassword", "decrypt key"):
		return unfit("Look at sslpassword.", `the file of parameter "sslkey" is encrypted, and can't be decrypted`), true
	case has("failed to read service file"):
		return unfit("Look at servicefile, $PGSERVICEFILE and ~/.pg_service.conf.", "a service is named, and the file of services can't be read"), true
	case has("unable to find service"):
		return unfit("Look at service=, $PGSERVICE, and the names in brackets in the file of services.", "the service that is named is not in the file of services"), true
	case has("invalid port", "match"):
		return unfit(special+" "+form, "has a port that is no number, or a part of the password in place of one"), false
	}
	for _, name := range []string{"connect_timeout", "target_session_attrs", "channel_binding", "require_auth", "sslcertmode", "min_protocol_version", "max_protocol_version"} {
		if has(name) {
			return unfit("https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS lists what it may be.", "parameter %q has a value that is none", name), false
		}
	}
	return unfit(form+". "+special+" "+quotes, "is not a Postgres URL"), true
}

// reason says why a file can't be read, without its name.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return "unknown"
}

// usable is CheckURL for what is about to be connected to.
func usable(u secret.URL, opts Options) error {
	_, err := CheckURL(u, true)
	if err != nil {
		return fault.Wrap(fault.Config, err, "parsing the %s URL", opts.Name)
	}
	return nil
}

// badURL is what is left: the parser's error quotes the URL, so it is not wrapped.
func badURL(opts Options) error {
	return fault.New(fault.Config, "parsing the %s URL: is not a Postgres URL", opts.Name).WithHint("%s", form)
}

// Place is what of a URL is no secret: where it leads to and as whom, as the driver understands it. Of one
// that it does not understand, or that it may have misunderstood, nothing is said.
func Place(u secret.URL) string {
	config, err := pgconn.ParseConfig(u.Reveal())
	if err != nil || checkForm(u.Reveal()) != nil || plausible(config) != nil {
		return "***"
	}
	password := ""
	if config.Password != "" {
		password = ":***"
	}
	return "postgres://" + config.User + password + "@" + address(config) + "/" + cmp.Or(config.Database, config.User)
}

// unquoted is a text of the server's without what a URL sets: the values of its parameters, and in a text of keywords
// their names too, for of a password with blanks they may be parts.
func unquoted(text string, u secret.URL) string {
	config, err := pgconn.ParseConfig(u.Reveal())
	if err != nil {
		return text
	}
	var parts []string
	for name, value := range config.RuntimeParams {
		parts = append(parts, value)
		if name == "options" {
			parts = append(parts, strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" =-", r) })...)
		}
		if !strings.Contains(u.Reveal(), "://") {
			parts = append(parts, name)
		}
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, part := range parts {
		if len(part) > 3 {
			text = strings.ReplaceAll(text, part, "***")
		}
		text = strings.ReplaceAll(text, `"`+part+`"`, `"***"`)
	}
	return text
}

func address(config *pgconn.Config) string {
	hosts := []string{net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))}
	for _, f := range config.Fallbacks {
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, ",")
}

// SameDatabase reports whether two URLs lead to one database, as far as can be told from them.
func SameDatabase(a, b secret.URL) bool {
	x, err := pgconn.ParseConfig(a.Reveal())
	y, err2 := pgconn.ParseConfig(b.Reveal())
	if err != nil || err2 != nil {
		return a == b
	}
	return address(x) == address(y) && cmp.Or(x.Database, x.User) == cmp.Or(y.Database, y.User)
}
