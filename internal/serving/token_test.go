package serving_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

var secret = []byte("a secret of more than 32 bytes, of nobody")

// carried runs an episode of rows whose state the client carries in tokens, and
// returns its actions and the last token.
func carried(tb testing.TB, ss *serving.Sessions, p *policy.Policy, rows, steps int) (actions []float32, token []byte) {
	tb.Helper()
	v := version(p, "1")
	for n := range steps {
		req := &serving.Request{Seed: 9, Row: 4}
		observe(req, p.Contract(), rows, n)
		if n == 0 {
			req.Begin(p.Contract())
		} else if err := ss.Unseal(token, v, req); err != nil {
			tb.Fatal(err)
		}
		if req.Step != uint64(n) || req.Seed != 9 || req.Row != 4 {
			tb.Fatalf("step %d came with seed %d, step %d, row %d", n, req.Seed, req.Step, req.Row)
		}
		if err := serving.New(serving.Options{}).Act(tb.Context(), p, req); err != nil {
			tb.Fatal(err)
		}
		actions = append(actions, req.Actions...)
		token = ss.Seal(v, req)
	}
	return actions, token
}

// TestTokensCarryAnEpisode: the steps of a batch with tokens between them are
// those of one request that keeps its state and histories, also where each token
// is opened by another process.
func TestTokensCarryAnEpisode(t *testing.T) {
	p := recurrent(t)
	const rows, steps = 3, 8
	ss := serving.NewSessions(serving.SessionOptions{Key: secret})
	got, _ := carried(t, ss, p, rows, steps)

	req := &serving.Request{Seed: 9, Row: 4}
	observe(req, p.Contract(), rows, 0)
	req.Begin(p.Contract())
	var want []float32
	held := 0
	for n := range steps {
		observe(req, p.Contract(), rows, n)
		req.Step = uint64(n)
		if err := serving.New(serving.Options{}).Act(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
		want = append(want, req.Actions...)
		held += len(req.Interventions)
	}
	if !slices.Equal(got, want) {
		t.Errorf("with tokens %v, without %v", got, want)
	}
	if held == 0 {
		t.Error("the envelope changed nothing: the histories are not tried")
	}
	// One row that begins an episode has the first step's state again.
	_, token := carried(t, ss, p, rows, steps)
	again := &serving.Request{}
	observe(again, p.Contract(), rows, 0)
	if err := ss.Unseal(token, version(p, "1"), again); err != nil {
		t.Fatal(err)
	}
	again.BeginEpisode(p.Contract(), 1)
	for i, part := range p.Contract().State {
		if row := again.State[i][part.Width:][:part.Width]; !slices.Equal(row, part.Reset) {
			t.Errorf("%s of the row that begins: %v, want %v", part.Name, row, part.Reset)
		}
		if row := again.State[i][:part.Width]; slices.Equal(row, part.Reset) {
			t.Errorf("%s of another row was reset too", part.Name)
		}
	}
	if !again.Histories[0].Begun() || again.Histories[1].Begun() {
		t.Error("the history of the row that begins is not forgotten, or that of another is")
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	p := recurrent(t)
	now := time.Now().Truncate(time.Millisecond) // as tokens say it
	refused := map[string]int{}
	o := serving.SessionOptions{Key: secret, TokenTTL: time.Minute, Now: func() time.Time { return now }, TokenRefused: func(reason string) { refused[reason]++ }}
	ss := serving.NewSessions(o)
	_, token := carried(t, ss, p, 2, 1)
	v := version(p, "1")
	f := func(ss *serving.Sessions, token []byte, v serving.SessionVersion, rows int, reason, words string) {
		t.Helper()
		req := &serving.Request{Seed: 1, Step: 2, Row: 3}
		observe(req, p.Contract(), rows, 0)
		err := ss.Unseal(token, v, req)
		if reason == "" {
			if err != nil {
				t.Errorf("refused: %v", err)
			}
			return
		}
		var why *serving.TokenError
		if !errors.Is(err, serving.ErrToken) || !errors.As(err, &why) || why.Reason != reason || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, %+v; want the reason %s and the words %q", err, why, reason, words)
		}
		if refused[reason] == 0 {
			t.Errorf("nobody was told of %s", reason)
		}
		if req.State != nil || req.Histories != nil || req.Seed != 1 || req.Step != 2 || req.Row != 3 {
			t.Errorf("%s: the request has changed", reason)
		}
	}
	f(ss, token, v, 2, "", "")
	f(ss, token, v, 1, "rows", "the state is of 2 rows, the request has 1")
	other := v
	other.Model = "n"
	f(ss, token, other, 2, "model", "of model m, the request is of model n")
	f(ss, token, version(p, "2"), 2, "version", "another version of model m than v2")
	f(ss, nil, v, 2, "malformed", "or null to begin")
	f(ss, []byte("%%%"), v, 2, "malformed", "")
	f(ss, token[:8], v, 2, "malformed", "")
	f(ss, append([]byte("B"), token[1:]...), v, 2, "malformed", "") // another form
	f(ss, append(slices.Clone(token), "AAAA"...), v, 2, "unauthentic", "sessions.token_key")
	f(ss, bytes.Repeat([]byte("A"), 1<<20+1), v, 2, "size", "up to 1048576")
	o.Key = append([]byte("not "), secret...)
	f(serving.NewSessions(o), token, v, 2, "unauthentic", "")
	o.OldKeys = [][]byte{[]byte("the one before the one before, of 32 bytes"), secret}
	f(serving.NewSessions(o), token, v, 2, "", "")
	o.Key, o.OldKeys = nil, nil // a key of this process
	f(serving.NewSessions(o), token, v, 2, "unauthentic", "")
	// The same digest with another contract is of another release of the
	// program.
	plain := open(t, filePPO, "", 1, policy.Options{})
	f(ss, token, version(plain, "1"), 2, "version", "of another form")
	now = now.Add(time.Minute)
	f(ss, token, v, 2, "", "")
	now = now.Add(time.Second)
	f(ss, token, v, 2, "expired", "is 1m1s old, and may be used for 1m0s")
	now = now.Add(-time.Hour) // the clock of another replica
	f(ss, token, v, 2, "", "")
}

// TestTokensOfAnotherVersion: by a contract that says reset, the state begins
// anew and the draws go on.
func TestTokensOfAnotherVersion(t *testing.T) {
	p := open(t, fileRecurrentPPO, enveloped+"on_version_change: reset\n", 1, policy.Options{})
	refused := 0
	ss := serving.NewSessions(serving.SessionOptions{TokenRefused: func(string) { refused++ }})
	_, token := carried(t, ss, p, 2, 3)
	f := func(digest string, rows int, wantReset bool, reason string) {
		t.Helper()
		req := &serving.Request{}
		observe(req, p.Contract(), rows, 0)
		reset, err := ss.Resume(token, version(p, digest), req)
		var why *serving.TokenError
		if reset != wantReset || errors.As(err, &why) != (reason != "") || why != nil && why.Reason != reason {
			t.Fatalf("digest %s, %d rows: reset %v, %v", digest, rows, reset, err)
		}
		if err != nil {
			return
		}
		if req.Seed != 9 || req.Step != 3 || req.Row != 4 || req.Histories[0].Begun() == wantReset {
			t.Errorf("digest %s: seed %d, step %d, row %d, a history: %v", digest, req.Seed, req.Step, req.Row, req.Histories[0].Begun())
		}
		for i, part := range p.Contract().State {
			if slices.Equal(req.State[i], slices.Repeat(part.Initial, rows)) != wantReset {
				t.Errorf("digest %s: %s is %v", digest, part.Name, req.State[i])
			}
		}
	}
	f("1", 2, false, "")
	f("2", 2, true, "")
	if refused != 0 {
		t.Errorf("%d states were counted as refused", refused)
	}
	f("2", 3, false, "rows")
	p = recurrent(t) // which drains
	f("2", 2, false, "version")
}

func TestTokensHaveASize(t *testing.T) {
	p := recurrent(t)
	ss := serving.NewSessions(serving.SessionOptions{MaxTokenBytes: 4096})
	v := version(p, "1")
	rows := 1
	for ss.CheckToken(v, rows) == nil {
		_, token := carried(t, ss, p, rows, 1)
		if len(token) > 4096 {
			t.Fatalf("a token of %d bytes for %d rows", len(token), rows)
		}
		rows++
	}
	_, token := carried(t, ss, p, rows, 1)
	if err := ss.CheckToken(v, rows); rows < 2 || len(token) <= 4096 || !errors.Is(err, serving.ErrToken) || !strings.Contains(err.Error(), "send fewer rows") {
		t.Errorf("%d rows: a token of %d bytes, %v", rows, len(token), err)
	}
}

// TestEveryBitOfATokenCounts changes each bit of a token, and each character of
// its text.
func TestEveryBitOfATokenCounts(t *testing.T) {
	p := open(t, filePPO, "", 1, policy.Options{})
	ss := serving.NewSessions(serving.SessionOptions{Key: secret})
	_, token := carried(t, ss, p, 1, 1)
	v := version(p, "1")
	raw := must(base64.RawURLEncoding.DecodeString(string(token)))(t)
	for bit := range 8 * len(raw) {
		changed := slices.Clone(raw)
		changed[bit/8] ^= 1 << (bit % 8)
		req := &serving.Request{Rows: 1}
		if err := ss.Unseal(base64.RawURLEncoding.AppendEncode(nil, changed), v, req); !errors.Is(err, serving.ErrToken) {
			t.Fatalf("bit %d changed: %v", bit, err)
		}
	}
	for i := range token {
		for c := range 256 {
			if byte(c) == token[i] {
				continue
			}
			changed := slices.Clone(token)
			changed[i] = byte(c)
			if err := ss.Unseal(changed, v, &serving.Request{Rows: 1}); !errors.Is(err, serving.ErrToken) {
				t.Fatalf("character %d became %q: %v", i, byte(c), err)
			}
		}
	}
	// Two tokens of the same state have nothing in common.
	if _, again := carried(t, ss, p, 1, 1); bytes.Equal(again[2:], token[2:]) {
		t.Error("a state is sealed in the same way twice")
	}
}

var fuzzed = sync.OnceValue(func() *policy.Policy {
	return recurrent(&testing.T{})
})

// FuzzUnseal: what is not a token is refused, and leaves the request alone.
func FuzzUnseal(f *testing.F) {
	p := fuzzed()
	ss := serving.NewSessions(serving.SessionOptions{}) // whose key no other process has that looks for inputs
	v := version(p, "1")
	_, token := carried(f, ss, p, 2, 2)
	f.Add(token, 2)
	f.Add(token[:len(token)-1], 2)
	f.Add([]byte("AQ"), 0)
	f.Add(append(slices.Clone(token), '\n'), 2)
	f.Add(bytes.Repeat([]byte("AQ"), 100), 1)
	f.Fuzz(func(t *testing.T, other []byte, rows int) {
		req := &serving.Request{Rows: rows}
		err := ss.Unseal(other, v, req)
		switch {
		case bytes.Equal(other, token) && rows == 2:
			if err != nil || len(req.State) != len(v.Contract.State) || len(req.Histories) != 2 {
				t.Errorf("our own token: %v", err)
			}
		case !errors.Is(err, serving.ErrToken) || req.State != nil || req.Histories != nil:
			t.Errorf("got %v and a state of %d parts", err, len(req.State))
		}
	})
}
