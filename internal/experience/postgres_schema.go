package experience

import (
	"context"
	"embed"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// postgresMigrations are the steps from one form of the database to the next,
// by number: 0001_name.sql and on, without holes.
//
//go:embed migrations/postgres/*.sql
var postgresMigrations embed.FS

// migrations are the migrations in their order.
func (p *postgres) migrations() []string {
	if p.o.migrations != nil {
		return p.o.migrations
	}
	return readMigrations(postgresMigrations, "migrations/postgres")
}

// migrationLock is the number of the advisory lock that one process at a time
// migrates under. Its value means nothing.
const migrationLock = 7_263_904_112

// migrate brings the database to this program's form, or, of a store that is
// opened for reading, checks that it is in it.
func (p *postgres) migrate(ctx context.Context, conn *pgconn.PgConn) error {
	list := p.migrations()
	if done, err := p.schema(ctx, conn); err != nil || done == len(list) {
		return err
	}
	if p.o.ReadOnly {
		return fmt.Errorf("experience log in %s: %w: there is none, or that of an older release: a server that is started with it, or carla-rl experience prune, brings it up to date", p.place(), ErrSchema)
	}
	err := pgExec(ctx, conn, fmt.Sprintf(`begin; select pg_advisory_xact_lock(%d);
create table if not exists carla_rl_schema (version integer primary key, applied timestamptz not null default now())`, migrationLock))
	if err != nil {
		return p.failure("migrate", err)
	}
	done, err := p.schema(ctx, conn) // Another process may have been faster.
	if err != nil {
		return err
	}
	for i := done; i < len(list); i++ {
		what := fmt.Sprintf("migrate to version %d", i+1)
		if err := pgExec(ctx, conn, list[i]); err != nil {
			return p.failure(what, err)
		}
		if _, _, err := pgRun(ctx, conn, "insert into carla_rl_schema (version) values ($1)", []byte(strconv.Itoa(i+1))); err != nil {
			return p.failure(what, err)
		}
	}
	return p.failure("migrate", pgExec(ctx, conn, "commit"))
}

// schema is the number of the last migration that the database has. The error
// is ErrSchema where a newer program has been there.
func (p *postgres) schema(ctx context.Context, conn *pgconn.PgConn) (int, error) {
	rows, _, err := pgRun(ctx, conn, "select to_regclass('carla_rl_schema') is not null")
	if err != nil {
		return 0, p.failure("look for its tables", err)
	}
	if string(rows[0][0]) != "t" {
		return 0, nil
	}
	if rows, _, err = pgRun(ctx, conn, "select coalesce(max(version), 0) from carla_rl_schema"); err != nil {
		return 0, p.failure("read its version", err)
	}
	n, err := strconv.Atoi(string(rows[0][0]))
	if err != nil {
		return 0, err
	}
	if newest := len(p.migrations()); n > newest {
		return n, fmt.Errorf("experience log in %s: %w: its schema is %d and this release knows up to %d: use the release that wrote it, or another database", p.place(), ErrSchema, n, newest)
	}
	return n, nil
}
