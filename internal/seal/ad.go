package seal

import (
	"encoding/binary"

	"github.com/refreshd/refreshd/internal/credential"
)

// The first byte of associated data says what they are for, so that data
// sealed for one purpose cannot be passed off as another's.
const (
	adCanary byte = 0
	adField  byte = 1
)

// AD returns the associated data of one sealed field: the field of that name
// of the credential id, under that grant and generation. Different arguments
// never give the same bytes.
func AD(id credential.ID, field string, grant, generation uint64) []byte {
	ad := make([]byte, 0, 1+2*binary.MaxVarintLen16+len(id)+len(field)+16)
	ad = append(ad, adField)
	ad = binary.AppendUvarint(ad, uint64(len(id)))
	ad = append(ad, id...)
	ad = binary.AppendUvarint(ad, uint64(len(field)))
	ad = append(ad, field...)
	ad = binary.BigEndian.AppendUint64(ad, grant)
	return binary.BigEndian.AppendUint64(ad, generation)
}
