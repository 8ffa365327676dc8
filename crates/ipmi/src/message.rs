//! IPMI messages on a LAN: addresses, checksums, request and response (section 13.8).

use crate::completion::CompletionCode;
use crate::wire::{Malformed, Reader};

/// Slave address of the BMC.
pub(crate) const BMC: u8 = 0x20;
/// Software id of remote console software.
pub(crate) const CONSOLE: u8 = 0x81;

/// Network functions (table 5-1) of requests; the response's is one higher.
pub(crate) mod netfn {
    pub const CHASSIS: u8 = 0x00;
    pub const APP: u8 = 0x06;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub netfn: u8,
    pub lun: u8,
    pub command: u8,
    /// 0 to 63; a response repeats it.
    pub sequence: u8,
    pub requester: u8,
    pub data: Vec<u8>,
}

/// A command's answer: the completion code and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub completion_code: CompletionCode,
    pub data: Vec<u8>,
}

/// A response with the fields that tell which request it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub netfn: u8,
    pub command: u8,
    pub sequence: u8,
    pub response: Response,
}

/// Two's complement of the sum, so that a part with its checksum sums to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

fn build(to: u8, netfn_lun: u8, from: u8, sequence_lun: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![to, netfn_lun, checksum(&[to, netfn_lun])];
    message.extend_from_slice(&[from, sequence_lun]);
    body.iter().for_each(|part| message.extend_from_slice(part));
    let sum = checksum(message.get(3..).unwrap_or_default());
    message.push(sum);
    message
}

/// Header, middle (from the second address to the end of the data), both checked.
fn open(message: &[u8]) -> Result<([u8; 2], Reader<'_>), Malformed> {
    let mut reader = Reader::new(message, "IPMI message too short");
    let [to, netfn_lun, sum] = reader.array()?;
    if checksum(&[to, netfn_lun]) != sum {
        return Err(Malformed("IPMI message with a wrong header checksum"));
    }
    let (sum, middle) = reader
        .rest()
        .split_last()
        .ok_or(Malformed("IPMI message too short"))?;
    if checksum(middle) != *sum {
        return Err(Malformed("IPMI message with a wrong data checksum"));
    }
    Ok((
        [to, netfn_lun],
        Reader::new(middle, "IPMI message too short"),
    ))
}

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        let netfn_lun = self.netfn << 2 | self.lun & 3;
        build(
            BMC,
            netfn_lun,
            self.requester,
            self.sequence << 2,
            &[&[self.command], &self.data],
        )
    }

    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let ([_, netfn_lun], mut reader) = open(message)?;
        let [requester, sequence_lun, command] = reader.array()?;
        let netfn = netfn_lun >> 2;
        if netfn & 1 != 0 {
            return Err(Malformed("IPMI response where a request belongs"));
        }
        Ok(Self {
            netfn,
            lun: netfn_lun & 3,
            command,
            sequence: sequence_lun >> 2,
            requester,
            data: reader.rest().to_vec(),
        })
    }

    /// The response's bytes.
    pub fn encode_response(&self, response: &Response) -> Vec<u8> {
        let body: [&[u8]; 2] = [&[self.command, response.completion_code.0], &response.data];
        build(
            self.requester,
            (self.netfn | 1) << 2,
            BMC,
            self.sequence << 2 | self.lun & 3,
            &body,
        )
    }
}

impl Reply {
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let ([_, netfn_lun], mut reader) = open(message)?;
        let [_, sequence_lun, command, code] = reader.array()?;
        let response = Response {
            completion_code: CompletionCode(code),
            data: reader.rest().to_vec(),
        };
        Ok(Self {
            netfn: netfn_lun >> 2,
            command,
            sequence: sequence_lun >> 2,
            response,
        })
    }

    pub fn answers(&self, request: &Request) -> bool {
        self.netfn == request.netfn | 1
            && self.command == request.command
            && self.sequence == request.sequence
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn request() -> Request {
        Request {
            netfn: netfn::APP,
            lun: 0,
            command: 0x38,
            sequence: 0,
            requester: CONSOLE,
            data: vec![0x8e, 0x04],
        }
    }

    #[test]
    fn a_request_is_what_every_console_sends() {
        // Get Channel Authentication Capabilities, as it stands in any capture of IPMI over LAN
        assert_eq!(hex::encode(request().encode()), "2018c88100388e04b5");
        assert_eq!(Request::parse(&request().encode()).unwrap(), request());
    }

    #[test]
    fn a_response_finds_its_request() {
        let request = Request {
            sequence: 9,
            lun: 2,
            ..request()
        };
        let response = Response {
            completion_code: CompletionCode(0xc1),
            data: vec![1, 2, 3],
        };
        let bytes = request.encode_response(&response);
        let reply = Reply::parse(&bytes).unwrap();
        assert!(reply.answers(&request));
        assert_eq!(reply.response, response);
        assert!(!reply.answers(&Request {
            sequence: 10,
            ..request.clone()
        }));
        assert!(!reply.answers(&Request {
            command: 1,
            ..request.clone()
        }));
        assert!(!reply.answers(&Request {
            netfn: 0,
            ..request.clone()
        }));
        assert!(Request::parse(&bytes).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Reply::parse(&changed).is_err(), "byte {at}");
        }
    }
}
