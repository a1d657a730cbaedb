package config

import (
	"errors"
	"fmt"
	"strings"
)

// shortestTokenKey is the number of characters below which a token key could be
// guessed from one token, at leisure.
const shortestTokenKey = 32

func tokenKeyText(v *Secret) func() error {
	return func() error {
		_, err := tokenKeys(strings.Split(v.text, ","))
		return err
	}
}

func tokenKeys(list []string) ([][]byte, error) {
	var keys [][]byte
	for _, key := range list {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if len(key) < shortestTokenKey {
			return nil, fmt.Errorf("want keys of %d characters or more, got one of %d: openssl rand -hex 32 makes one", shortestTokenKey, len(key))
		}
		if strings.HasPrefix(key, placeholderKey) {
			return nil, fmt.Errorf("a key is the example's (%s...) and known to everyone: openssl rand -hex 32 makes one", placeholderKey)
		}
		keys = append(keys, []byte(key))
	}
	return keys, nil
}

// TokenKeys returns the keys that seal and open the state which clients carry:
// those of sessions.token_key, and each line of sessions.token_key_file, which
// is read anew. The first one seals. There are none where neither is set.
func (c *Config) TokenKeys() ([][]byte, error) {
	keys, err := tokenKeys(strings.Split(c.Sessions.TokenKey.Reveal(), ","))
	if err != nil {
		return nil, err
	}
	name := c.Sessions.TokenKeyFile
	if name == "" {
		return keys, nil
	}
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	more, err := tokenKeys(strings.Split(string(data), "\n"))
	if err == nil && len(more) == 0 {
		err = errors.New("holds no key")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return append(keys, more...), nil
}
