package experience

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Times of a connection to PostgreSQL, where its URL says none: to connect, and
// to write one batch.
const (
	postgresConnect = 5 * time.Second
	postgresWrite   = 30 * time.Second
)

// postgres is a Store in a database of PostgreSQL. Steps go in by COPY in its
// binary form.
type postgres struct {
	o      Options
	cfg    *pgconn.Config
	secret []string // what no message may have in it

	mu       sync.Mutex // guards what follows; Append holds it
	conn     *pgconn.PgConn
	migrated bool
	buf      []byte
	closed   bool
}

// openPostgres opens a store in a database, which is brought to this program's
// form. The error is ErrURL, wrapped, where the URL is none, ErrSchema where a
// newer program has changed the database, and *PostgresError where it cannot be
// reached or says no. No error has the password in it.
//
// With a spool, a database that cannot be reached is no error: what is appended
// waits for it.
func openPostgres(ctx context.Context, text string, o Options) (Store, error) {
	p, err := newPostgres(text, o)
	if err != nil {
		return nil, err
	}
	alone := o.ReadOnly || o.Spool.Dir == ""
	if !alone { // A server does not wait long for a database that it can do without for now.
		limited, cancel := context.WithTimeout(ctx, directTime)
		defer cancel()
		ctx = limited
	}
	err = p.ping(ctx)
	if alone {
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	said := (*PostgresError)(nil)
	if err != nil && (!errors.As(err, &said) || said.Misconfigured()) {
		return nil, err
	}
	return newSpooled(p, o, err)
}

// newPostgres reads the URL, and connects to nothing.
func newPostgres(text string, o Options) (*postgres, error) {
	u, err := url.Parse(text)
	if err != nil {
		// What the parser says may hold a part of the password.
		return nil, fmt.Errorf("%w: it cannot be read; characters such as @ : / ? # %% of a password have to be written as %%40 and so on", ErrURL)
	}
	p := &postgres{o: o}
	password, _ := u.User.Password()
	_, raw, _ := strings.Cut(u.User.String(), ":")
	for _, secret := range []string{text, password, raw, u.Query().Get("password"), u.Query().Get("sslpassword")} {
		if secret != "" {
			p.secret = append(p.secret, secret)
		}
	}
	if p.cfg, err = pgconn.ParseConfig(text); err != nil {
		// The cause alone: the error has the URL in it, if without its password.
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%w: %s", ErrURL, p.clean(err.Error()))
	}
	if p.cfg.Password != "" {
		p.secret = append(p.secret, p.cfg.Password)
	}
	if u.Query().Get("connect_timeout") == "" {
		p.cfg.ConnectTimeout = postgresConnect
	}
	if p.cfg.RuntimeParams["application_name"] == "" {
		p.cfg.RuntimeParams["application_name"] = "carla-rl"
	}
	if p.o.Now == nil {
		p.o.Now = time.Now
	}
	return p, nil
}

// clean takes secrets out of a message.
func (p *postgres) clean(text string) string {
	for _, s := range p.secret {
		text = strings.ReplaceAll(text, s, "xxxxx")
	}
	return text
}

// PostgresError is what a database said, or why it could not be asked.
type PostgresError struct {
	What string // what was tried
	Code string // SQLSTATE; empty where the database did not answer
	Text string // without secrets
	err  error
}

func (e *PostgresError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("PostgreSQL: %s: %s (SQLSTATE %s)", e.What, e.Text, e.Code)
	}
	return fmt.Sprintf("PostgreSQL: %s: %s", e.What, e.Text)
}

// Unwrap returns the error of the context, where it was that.
func (e *PostgresError) Unwrap() error { return e.err }

// Refused tells that the database can be reached and does not take what it was
// given, which does not pass by waiting: data of a wrong form, or against a
// constraint.
func (e *PostgresError) Refused() bool {
	return strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23")
}

// Misconfigured tells that whoever set the URL has to mend it: the database is
// there, and the name, the password or the rights are wrong.
func (e *PostgresError) Misconfigured() bool {
	return strings.HasPrefix(e.Code, "28") || strings.HasPrefix(e.Code, "3D") || strings.HasPrefix(e.Code, "3F") || e.Code == "42501"
}

// Hint says what can be done.
func (e *PostgresError) Hint() string {
	switch {
	case strings.HasPrefix(e.Code, "28"):
		return "look at the user and the password of the URL"
	case strings.HasPrefix(e.Code, "3D"):
		return "create the database, or name another one"
	case e.Code == "42501":
		return "the user needs the right to create tables in the schema, the first time"
	}
	return ""
}

// failure makes an error of what was tried.
func (p *postgres) failure(what string, err error) error {
	if err == nil {
		return nil
	}
	e := &PostgresError{What: what, Text: p.clean(err.Error())}
	if said := (*pgconn.PgError)(nil); errors.As(err, &said) {
		e.Code, e.Text = said.Code, p.clean(said.Message)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.err = context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		e.err = context.Canceled
	}
	return e
}

// connected gives the connection of Append, which is made where there is none.
// The mutex is held.
func (p *postgres) connected(ctx context.Context) (*pgconn.PgConn, error) {
	if p.closed {
		return nil, errors.New("the experience log is closed")
	}
	if p.conn != nil && !p.conn.IsClosed() {
		return p.conn, nil
	}
	p.conn = nil
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	if !p.migrated {
		if err := p.migrate(ctx, conn); err != nil {
			hangUp(conn)
			return nil, err
		}
		p.migrated = true
	}
	p.conn = conn
	return conn, nil
}

// ping tells whether the database answers, and brings it to this program's form
// where that was not done yet.
func (p *postgres) ping(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn, err := p.connected(ctx)
	if err != nil {
		return err
	}
	if err := pgExec(ctx, conn, "select 1"); err != nil {
		p.drop()
		return p.failure("ask whether it is there", err)
	}
	return nil
}

// dial makes a connection.
func (p *postgres) dial(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := pgconn.ConnectConfig(ctx, p.cfg)
	return conn, p.failure("connect to "+p.place(), err)
}

// place names the database, as an operator may read it.
func (p *postgres) place() string {
	return fmt.Sprintf("%s:%d/%s", p.cfg.Host, p.cfg.Port, p.cfg.Database)
}

// hangUp ends a connection, whatever state it is in, and waits a moment at most.
func hangUp(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// drop gives the connection of Append up: what is under way on it is rolled back
// by the database.
func (p *postgres) drop() {
	if p.conn != nil {
		hangUp(p.conn)
		p.conn = nil
	}
}

// Close implements Store. Where the database answers it is told that the run has
// ended.
func (p *postgres) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.conn != nil && !p.conn.IsClosed() && p.o.Run != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, _ = pgRun(ctx, p.conn, "update carla_rl_runs set ended = true where run = $1", pgText(p.o.Run))
	}
	p.drop()
	return nil
}

// session runs f on a connection of its own, which ends with it.
func (p *postgres) session(ctx context.Context, f func(conn *pgconn.PgConn) error) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return f(conn)
}

// pgExec runs statements that return nothing, by the simple protocol.
func pgExec(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}

// pgRun runs one statement with parameters as text; a nil one is null.
func pgRun(ctx context.Context, conn *pgconn.PgConn, sql string, args ...[]byte) (rows [][][]byte, affected int64, err error) {
	r := conn.ExecParams(ctx, sql, args, nil, nil, nil).Read()
	return r.Rows, r.CommandTag.RowsAffected(), r.Err
}
