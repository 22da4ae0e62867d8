"""Does one thing with keys of a KMIP server: make, activate, revoke, destroy."""

import sys

from kmip import enums
from kmip.pie import client

folder, port, user, what = sys.argv[1:5]
# The client wants a file, though everything is said here.
with open(f"{folder}/client.conf", "w") as file:
    file.write("[client]\n")
with client.ProxyKmipClient(
    hostname="127.0.0.1",
    port=int(port),
    cert=f"{folder}/{user}.pem",
    key=f"{folder}/{user}.key",
    ca=f"{folder}/ca.pem",
    ssl_version="PROTOCOL_TLSv1_2",
    config_file=f"{folder}/client.conf",
) as server:
    if what == "make":
        mask = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
        print(server.create(enums.CryptographicAlgorithm.AES, int(sys.argv[5]), cryptographic_usage_mask=mask))
    elif what == "activate":
        server.activate(sys.argv[5])
    elif what == "revoke":
        server.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, sys.argv[5])
    elif what == "destroy":
        server.destroy(sys.argv[5])
    else:
        sys.exit(f"unknown: {what}")
