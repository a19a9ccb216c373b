package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/testproc"
)

// A start without the keyset of what Redis holds makes none, which could be
// taken for the right one; the doctor knows a wrong one.
func TestKeysetThatIsLostIsNotReplaced(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	keyset := filepath.Join(f.dir, "data", "keyset.json")
	require.NoError(t, run(t, f, everything()).end())
	found := about(f.diagnose(t), doctor.TopicKeyset)
	require.Len(t, found, 1)
	assert.Equal(t, doctor.OK, found[0].Severity, found[0].What)

	require.NoError(t, os.Rename(keyset, keyset+".backup"))
	r := begin(t, f, everything())
	<-r.ended
	require.ErrorContains(t, r.err, "none was made: restore it from its backup")
	assert.NoFileExists(t, keyset)
	found = about(f.diagnose(t), doctor.TopicKeyset)
	assert.Equal(t, doctor.Fail, found[0].Severity)

	_, _, err := seal.Open(keyset, seal.Options{})
	require.NoError(t, err)
	found = about(f.diagnose(t), doctor.TopicKeyset)
	assert.Equal(t, doctor.Fail, found[0].Severity)
	assert.Contains(t, found[0].What, "fingerprint")

	require.NoError(t, os.Rename(keyset+".backup", keyset))
	require.NoError(t, run(t, f, everything()).end())
}

// A rotated keyset fits, and looking does not note it as the one in use.
func TestDoctorTakesARotatedKeysetForTheRightOne(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	require.NoError(t, run(t, f, everything()).end())
	keyset := filepath.Join(f.dir, "data", "keyset.json")
	before := keyset + ".before"
	require.NoError(t, os.Link(keyset, before)) // a rotation writes another file
	rotateNow(t, keyset)
	assert.Equal(t, doctor.OK, about(f.diagnose(t), doctor.TopicKeyset)[0].Severity)
	require.NoError(t, os.Rename(before, keyset))
	assert.Equal(t, doctor.OK, about(f.diagnose(t), doctor.TopicKeyset)[0].Severity)
	require.NoError(t, run(t, f, everything()).end(), "the old one is still the one in use")
}
